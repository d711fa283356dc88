#!/bin/sh
# Ten thousand mutated streams: each is refused with a reason, or is none the worse.
HVD_MUTATIONS=10000 exec "$HVD_BUILDDIR/tests/unit/test_handover"
