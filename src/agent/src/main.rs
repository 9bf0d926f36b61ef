//! `rollinit-agent`: the restartable shell around the pure room `rollout`.

mod disk;
mod limits;
mod options;
mod prober;

fn main() {
    let _ = options::Options::read(std::env::args_os().skip(1));
}
