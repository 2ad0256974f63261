//! The connector against real servers on loopback, most of them badly behaved.

#[path = "loopback/http1.rs"]
mod http1;
#[path = "loopback/http2.rs"]
mod http2;
#[path = "loopback/life.rs"]
mod life;
#[path = "loopback/tls.rs"]
mod tls;
#[path = "loopback/world.rs"]
mod world;
