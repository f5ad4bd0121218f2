"""What every process of the tests leaves out: it is done hundreds of times and proves nothing here.

Streamlit reads what is known of every installed package at each start and at each run of a page in AppTest, half of
what such a test computes: here once, as nothing is installed meanwhile. Files are not forced onto the disk: only a
power cut would tell the difference.
"""

import os
from functools import cache

from streamlit.components.v2 import manifest_scanner

manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)
manifest_scanner.scan_component_manifests()  # before processes are forked
os.fsync = os.fdatasync = lambda file: None
