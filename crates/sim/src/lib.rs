//! The test host of the client core: a model of IndexedDB, and later the whole-system simulator.
