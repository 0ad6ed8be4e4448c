//! The sizes that a Fargate task can have.

/// CPU units, and the memory in MiB that goes with them: from, to, in steps of.
const SIZES: [(u32, u32, u32, u32); 8] = [
    // 512, 1024 and 2048; the middle step is left out of no other.
    (256, 512, 2_048, 512),
    (512, 1_024, 4_096, 1_024),
    (1_024, 2_048, 8_192, 1_024),
    (2_048, 4_096, 16_384, 1_024),
    (4_096, 8_192, 30_720, 1_024),
    (8_192, 16_384, 61_440, 4_096),
    (16_384, 32_768, 122_880, 8_192),
    (32_768, 61_440, 249_856, 61_440),
];

/// The smallest size that has at least this much of both, as CPU units and MiB.
pub(crate) fn next_size(cpu: u32, memory: u32) -> Option<(u32, u32)> {
    SIZES.iter().filter(|(units, ..)| *units >= cpu).find_map(|&(units, from, to, step)| {
        let mut size = from;
        while size < memory {
            size += step;
            // 1,536 MiB is not to be had with a quarter of a core.
            if units == 256 && size == 1_536 {
                size = 2_048;
            }
            if units == 32_768 && size > 122_880 {
                size = to;
                break;
            }
        }
        (size <= to && size >= memory).then_some((units, size))
    })
}

/// CPU as a task definition has it: units (`1024`), or cores (`1 vCPU`).
pub(crate) fn cpu_units(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(units) = text.parse() {
        return Some(units);
    }
    scaled(text, "vcpu")
}

/// Memory as a task definition has it: MiB (`512`), or GB (`0.5 GB`).
pub(crate) fn mebibytes(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(mebibytes) = text.parse() {
        return Some(mebibytes);
    }
    scaled(text, "gb")
}

fn scaled(text: &str, unit: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let number: f64 = lower.strip_suffix(unit)?.trim().parse().ok()?;
    let scaled = (number * 1024.0).round();
    (1.0..=10_000_000.0).contains(&scaled).then_some(scaled as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_can_be_had() {
        for (cpu, memory, expected) in [
            (64, 100, Some((256, 512))),
            (256, 513, Some((256, 1_024))),
            (256, 1_025, Some((256, 2_048))),
            (256, 2_049, Some((512, 3_072))),
            (320, 600, Some((512, 1_024))),
            (1_024, 9_000, Some((2_048, 9_216))),
            (4_097, 1, Some((8_192, 16_384))),
            (8_192, 16_385, Some((8_192, 20_480))),
            (16_385, 62_000, Some((32_768, 122_880))),
            (32_768, 130_000, Some((32_768, 249_856))),
            (32_768, 250_000, None),
            (40_000, 1, None),
        ] {
            assert_eq!(next_size(cpu, memory), expected, "{cpu} units, {memory} MiB");
        }
    }

    #[test]
    fn sizes_are_read_in_both_units() {
        assert_eq!(
            [cpu_units("256"), cpu_units(".25 vCPU"), cpu_units("1 vcpu")],
            [Some(256), Some(256), Some(1024)]
        );
        assert_eq!(
            [mebibytes("512"), mebibytes("0.5GB"), mebibytes("30 GB")],
            [Some(512), Some(512), Some(30_720)]
        );
        assert_eq!([cpu_units("much"), mebibytes("-1 GB"), mebibytes("1 vCPU")], [None, None, None]);
    }
}
