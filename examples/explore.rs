use slidebench::data::*;
use slidebench::engine::*;
use slidebench::network::*;
fn cpu() -> f64 {
    unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t);
        t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
    }
}
fn main() {
    let source: Source = std::env::args().nth(1).unwrap().parse().unwrap();
    let data = open(&source, &OpenOptions::default()).unwrap();
    let every: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    for spec in std::env::args().skip(3) {
        // engine|lr|epochs|options
        let p: Vec<&str> = spec.splitn(4, '|').collect();
        let (name, lr, epochs) = (p[0], p[1].parse::<f32>().unwrap(), p[2].parse::<f64>().unwrap());
        let options: toml::Table = p.get(3).unwrap_or(&"").replace(';', "\n").parse().unwrap();
        let batch: usize = std::env::var("B").map_or(128, |s| s.parse().unwrap());
        let shape = Shape { inputs: data.inputs, hidden: vec![128], labels: data.labels };
        let training = Training { batch, learning_rate: lr, ..Default::default() };
        let settings = EngineSettings {
            shape: shape.clone(),
            training,
            options,
            threads: 1,
            allow_software: false,
            seed: 1,
            label_shares: data.label_shares().into(),
        };
        let mut engine = (find(name).unwrap().build)(&settings).unwrap_or_else(|e| panic!("{e}"));
        engine.load(&Parameters::new(&shape, Init::Glorot, 1)).unwrap();
        let test = sample(data.test.rows(), 2048, 1);
        let (mut b, mut t, mut total, mut steps) = (Batch::default(), Batch::default(), 0.0, 0);
        print!("{spec}\n   ");
        let mut epoch = 0;
        'outer: loop {
            let order = shuffled(data.train.rows(), 1, epoch);
            epoch += 1;
            for rows in order.chunks(batch) {
                let c = cpu();
                data.train.fill(rows, &mut b);
                engine.step(&b).unwrap();
                total += cpu() - c;
                steps += 1;
                let done = steps as f64 * batch as f64 >= epochs * data.train.rows() as f64;
                if steps % every == 0 || done {
                    let mut hits = 0;
                    let mut n = 0;
                    for rows in test.chunks(256) {
                        data.test.fill(rows, &mut t);
                        let top = engine.predict(&t, 1).unwrap();
                        for i in 0..t.len() {
                            n += 1;
                            if t.labels(i).contains(&top.labels[i * top.k]) {
                                hits += 1;
                            }
                        }
                    }
                    let s = engine.finish().unwrap();
                    print!("{:.2}s:{:.3} ", total, hits as f64 / n as f64);
                    use std::io::Write;
                    std::io::stdout().flush().unwrap();
                    if done {
                        println!(
                            "\n   {:.1} ms/step, active {:?}",
                            total * 1e3 / steps as f64,
                            s.active.map(|a| (a.mean as u32, a.labels as u32, a.distinct as u32))
                        );
                        println!(
                            "   phases {:?}",
                            s.phases.map(|p| (p.as_secs_f64() * 1e4 / s.steps as f64).round() / 10.0)
                        );
                        break 'outer;
                    }
                }
            }
        }
    }
}
