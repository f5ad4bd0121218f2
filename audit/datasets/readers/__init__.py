"""The readers of datasets, a module a kind, as `kinds.KINDS` lists them. They import what lies beside this folder but
`kinds` and `dataset`, and from each other along folders <- remote <- manifests.
"""
