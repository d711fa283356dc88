#!/bin/sh
# Ten thousand mutated snapshots: each is refused with a reason.
HVD_MUTATIONS=10000 exec "$HVD_BUILDDIR/tests/unit/test_snapshot"
