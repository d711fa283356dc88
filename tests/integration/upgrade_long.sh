#!/bin/sh
# The self-checking guest changes its worker 200 times in each of its forms.
HVD_UPGRADES=200 exec sh "$HVD_SRCDIR/tests/integration/upgrade.sh"
