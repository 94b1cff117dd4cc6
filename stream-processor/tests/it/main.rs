//! The stream processor as its users see it: scripts, the SQL Gateway and the job REST over real sockets, and Flink's
//! own results.

mod gateway;
mod golden;
mod script;
