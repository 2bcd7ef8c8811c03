//! Everything that loads Atoll and measures it. The binary is a thin `main` over [`cli::run`].
//!
//! * [`null`]: the null server, the floor that every CPU figure is a ratio of;
//! * [`swarm`]: thousands of bots that enter, walk, check and measure;
//! * [`sim`]: a whole cluster in one thread, from a seed, with faults;
//! * [`launch`]: a launch day in virtual time, policies side by side;
//! * [`pace`], [`cpu`], [`open_files`], [`interrupt`]: what each load generator needs: a fixed send
//!   schedule, CPU figures, enough file descriptors, a clean end on Ctrl-C.

mod actions;
pub mod cli;
pub mod cpu;
pub mod interrupt;
pub mod launch;
pub mod limits;
pub mod null;
pub mod open_files;
pub mod pace;
pub mod sim;
pub mod swarm;
