"""What people see: nodes by topic, each with its ready-made workflow and help beside it."""
