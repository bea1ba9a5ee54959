//! What the multiplexer costs, beside a proxy that only moves bytes.
//!
//! Everything that is measured runs in a process of its own, so that the kernel can
//! tell what each of them used: the [`child`], the [`bare`] proxy, the multiplexer
//! itself, and the [`load`]. The first three live in this program, as commands; what
//! starts them in turn and makes the table is [`mod@bench`].

mod bare;
mod bench;
mod chart;
mod child;
mod crowd;
mod door;
mod flood;
mod growth;
mod guests;
mod issuer;
mod load;
mod many;
mod message;
mod page;
mod peers;
mod processes;
mod relay;
mod report;
mod search;
mod start;
mod subjects;
mod targets;
mod usage;
mod web;

use clap::Parser;
use tokio::runtime::Builder;

/// What the multiplexer costs, beside a proxy that only moves bytes.
#[derive(Debug, Parser)]
enum Cli {
    Bench(bench::Bench),
    /// Measures a list of many tools beside the same bytes, ready.
    List(bench::List),
    Chart(page::Chart),
    Page(page::Page),
    /// Measures the search for tools.
    Search(search::Search),
    /// Measures what a flood of bad tokens does to those who have good ones.
    Door(door::Door),
    /// Measures what more children, tools and idle sessions cost.
    Growth(growth::Growth),
    /// Measures how soon the first answers come.
    Start(start::Start),
    #[command(hide = true)]
    Child(child::Child),
    #[command(hide = true)]
    Crowd(crowd::Crowd),
    #[command(hide = true)]
    Bare(bare::Bare),
    #[command(hide = true)]
    Load(load::Load),
    #[command(hide = true)]
    Flood(flood::Flood),
}

fn main() -> Result<(), web::Error> {
    match Cli::parse() {
        Cli::Bench(bench) => one_thread()?.block_on(bench.run()),
        Cli::List(list) => one_thread()?.block_on(list.run()),
        Cli::Chart(chart) => chart.run(),
        Cli::Page(page) => page.run(),
        Cli::Search(search) => search.run(),
        Cli::Growth(growth) => one_thread()?.block_on(growth.run()),
        Cli::Start(start) => one_thread()?.block_on(start.run()),
        Cli::Crowd(crowd) => one_thread()?.block_on(crowd.run()),
        Cli::Child(child) => one_thread()?.block_on(child.run()),
        Cli::Door(door) => one_thread()?.block_on(door.run()),
        Cli::Flood(flood) => one_thread()?.block_on(flood.run()),
        Cli::Load(load) => one_thread()?.block_on(load.run()),
        // The runtime that the multiplexer has.
        Cli::Bare(bare) => Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(bare.run()),
    }
}

fn one_thread() -> std::io::Result<tokio::runtime::Runtime> {
    Builder::new_current_thread().enable_all().build()
}
