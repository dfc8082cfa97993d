use rand::{RngExt, SeedableRng};
use slidebench::data::{Batch, Csr, Features};
use slidebench::engine::*;
use slidebench::network::*;
use std::time::Instant;
fn cpu() -> f64 {
    unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t);
        t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
    }
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let name = &args[1];
    let labels: usize = args[2].parse().unwrap();
    let steps: usize = args[3].parse().unwrap();
    let options: toml::Table = args.get(4).map(|s| s.parse().unwrap()).unwrap_or_default();
    let threads = args.get(5).map_or(2, |s| s.parse().unwrap());
    let shape = Shape { inputs: 135_909, hidden: vec![128], labels };
    let training = Training { batch: 128, learning_rate: 1e-4, ..Default::default() };
    let settings = EngineSettings {
        shape: shape.clone(),
        training,
        options,
        threads,
        allow_software: false,
        seed: 1,
        label_shares: vec![1e-5; labels].into(),
    };
    let mut engine = (find(name).unwrap().build)(&settings).unwrap_or_else(|e| panic!("{e}"));
    let t = Instant::now();
    let p = Parameters::new(&shape, Init::Slide, 1);
    eprintln!("init {:?}", t.elapsed());
    let t = Instant::now();
    let c = cpu();
    engine.load(&p).unwrap();
    eprintln!("load {:?} cpu {:.2}", t.elapsed(), cpu() - c);
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(3);
    let like = Features::Sparse(Csr::default());
    let mut batches = vec![];
    for _ in 0..20 {
        let mut b = Batch::default();
        b.clear(&like);
        for _ in 0..128 {
            let mut f: Vec<u32> = (0..76)
                .map(|_| {
                    let u: f64 = rng.random();
                    ((u.powf(2.0)) * 135_909.0) as u32
                })
                .collect();
            f.sort();
            f.dedup();
            let v = vec![1.0 / (f.len() as f32).sqrt(); f.len()];
            let mut l: Vec<u32> = (0..5).map(|_| rng.random_range(0..labels as u32)).collect();
            l.sort();
            l.dedup();
            b.push_sparse(&f, &v, &l);
        }
        batches.push(b);
    }
    let (t, c) = (Instant::now(), cpu());
    for i in 0..steps {
        engine.step(&batches[i % 20]).unwrap();
    }
    let stats = engine.finish().unwrap();
    println!(
        "{} cpu/step {:.1} ms wall/step {:.1} ms loss {:.4}",
        name,
        (cpu() - c) * 1e3 / steps as f64,
        t.elapsed().as_secs_f64() * 1e3 / steps as f64,
        stats.loss
    );
    for (p, d) in Phase::ALL.iter().zip(stats.phases) {
        print!("{:?} {:.1} ms  ", p, d.as_secs_f64() * 1e3 / steps as f64);
    }
    println!(
        "\n{:?}\nGB/step {:.3} GFLOP/step {:.3}",
        stats.active,
        stats.bytes / 1e9 / steps as f64,
        stats.flops / 1e9 / steps as f64
    );
    println!("{:?}", engine.describe().notes);
    println!("mem {:.2} GB", engine.memory().host_bytes as f64 / 1e9);
    let (t, c) = (Instant::now(), cpu());
    if args.get(6).is_some() {
        engine.predict(&batches[0], 5).unwrap();
        println!("predict cpu {:.3} wall {:?}", cpu() - c, t.elapsed());
    }
}
