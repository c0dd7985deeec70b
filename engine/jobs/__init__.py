"""Jobs that are never lost: a durable ledger, one worker process per device and its supervisor."""
