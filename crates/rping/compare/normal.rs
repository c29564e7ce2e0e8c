//! Quantiles of the normal and of Student's distribution.

/// The value that a standard normal variable does not exceed with probability `p`, 0 < p < 1: Acklam's rational
/// approximation, relative error below 1.2e-9.
pub(super) fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
    ];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [
        0.007_784_695_709_041_462,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
    ];
    let poly = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let x = (-2.0 * p.ln()).sqrt();
        poly(&C, x) / (poly(&D, x) * x + 1.0)
    };
    if p < 0.024_25 {
        tail(p)
    } else if p > 1.0 - 0.024_25 {
        -tail(1.0 - p)
    } else {
        let x = p - 0.5;
        let r = x * x;
        poly(&A, r) * x / (poly(&B, r) * r + 1.0)
    }
}

/// The same of Student's distribution with `freedom` degrees, by Cornish and Fisher's expansion: within 0.5 % for seven
/// degrees and p up to 0.999.
pub(super) fn student(p: f64, freedom: f64) -> f64 {
    let z = quantile(p);
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * freedom)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * freedom.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * freedom.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_964),
            (0.995, 2.575_829),
            (0.01, -2.326_348),
        ] {
            assert!((quantile(p) - z).abs() < 1e-5, "{p}");
        }
        for (p, freedom, t) in [(0.975, 31.0, 2.0395), (0.995, 10.0, 3.1693), (0.975, 7.0, 2.3646)] {
            assert!((student(p, freedom) / t - 1.0).abs() < 0.005, "{p} {freedom}");
        }
    }
}
