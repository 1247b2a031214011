//! One file per command: its arguments (`Args`) and what it does (`run`).
