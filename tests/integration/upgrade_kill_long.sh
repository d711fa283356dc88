#!/bin/sh
# Deaths at every system call of a local hand-over.
HVD_KILLS=0 exec sh "$HVD_SRCDIR/tests/integration/upgrade_kill.sh"
