#!/bin/sh
# Every fault at every message; the table of doc/migration.md.
FAULTS=all exec "$HVD_SRCDIR/tests/integration/migrate_faults.sh"
