#!/bin/sh
# Two hundred moves each, with one, two and four vCPUs.
MIGRATE_MOVES=200 MIGRATE_CPUS="1 2 4" exec "$HVD_SRCDIR/tests/integration/migrate_moves.sh"
