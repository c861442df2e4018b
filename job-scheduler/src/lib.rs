//! Keeps bulk jobs in Postgres, hands out their tasks, and stops them on demand.
