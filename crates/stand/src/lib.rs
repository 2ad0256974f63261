//! External systems to practise on: real HTTP servers with a capacity, a temper and an auditable ledger.
