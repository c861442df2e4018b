//! The board, walked with a clock of its own.
