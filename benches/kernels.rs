use slidebench::kernels::roofline;
fn main() {
    let t = std::time::Instant::now();
    println!("{:#?}", roofline::measure(2).unwrap());
    println!("{:?}", t.elapsed());
}
