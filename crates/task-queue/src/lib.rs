//! RabbitMQ as Keyfleet uses it: topology, publishing with confirms, consuming, reconnecting.
