//! What every Keyfleet service does the same way: settings, logs, metrics, health, clocks, start and stop.
