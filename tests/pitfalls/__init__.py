"""What already cost others their data, as tests: one for each trap, named after it.

`test_lines` lists the traps and the tests that hold them, wherever these lie.
"""
