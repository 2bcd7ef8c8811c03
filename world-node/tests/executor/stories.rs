//! One story for each thing that can happen.

mod calm;
