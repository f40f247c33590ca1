"""Protection and its reverse: windows become sealed packs on several stores, and packs become weddings again.

Terms: a *window* is what one partition protects together; a *receipt* proves that a pack lies,
verified, on its stores; *protected* means three verified copies in three failure domains, *full* the
number its lane is owed. Only receipts enter the catalog, in one transaction with the offset they
let move; only `app` acknowledges.

Read first, for the way in: `window` and `packer` over `seal` (what is built, pure), `placement` and
`replicate` (where it lies), `catalog` with `receipts`, then `protect` (the order of the steps), `sink`
(all partitions), `blobs` (objects' bytes) and `owed` (copies made up). `keyring` over `key_wrapping`
holds the keys. For the way back: `cut` (from an instant to a position), `history`, `restore_plan`
over `row_versions` and `schema_history` (rows through changes of their schema), `restore`, and `targets`
(where rows go). `lanes` is where everything waits for its turn on the way to the stores, `controls` what an
operator has ordered, `partition_holes` and `gap_telling` what is known to be missing. `checkpoint` and
`rebuild` bring back a catalog that was lost.
"""
