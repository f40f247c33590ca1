"""Operations: the command line, the settings, the local stack, and everything that is put together.

Observe, decide, act; nothing here decides about a change or holds a promise of its own. Only
`bootstrap` and the tests build adapters.

Read first: `config` (settings), `bootstrap` (which library stands behind which port), `bringup` (from
nothing to protected), `workers` (the processes), then `cli` and its verbs (`cli_*`). `guard` watches over
capture (`guard_rules` decides, `epochs` begins anew), `doctor` examines, `table_copies` copies on demand,
`moved_copies` what follows a moved row; `copy_rules` and `sweep_turns` obey the controls. `onboarding`
prepares a database of a user's own and leaves it as it was. `api` receives applications' events,
`stack` runs the engines, `sample` is a wedding business to protect, `demo` the main job told as a story,
`compose` what Docker's containers run, `dead_letters` is what an operator does with what could not be read,
`reference` writes REFERENCE.md. `decisions/` says why.
"""
