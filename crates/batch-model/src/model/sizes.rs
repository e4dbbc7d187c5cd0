//! The number of cores, from the name of a machine's size.

/// Returns the cores of a machine, if the name of its size contains them: `standard_d4s_v3` has 4,
/// `standard_m128-64ms` 64.
pub(super) fn cores_of(vm_size: &str) -> u32 {
    let name = vm_size.to_ascii_lowercase();
    match name.as_str() {
        "medium" => return 2,
        "large" => return 4,
        "extralarge" => return 8,
        _ => {}
    }
    let name = name.split_once('_').map_or(&*name, |(_, rest)| rest);
    let size = name.split('_').next().unwrap_or_default();
    let number = |text: &str| {
        let digits: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok().filter(|cores| *cores > 0)
    };
    // A number after a hyphen is the reduced number of cores.
    size.split_once('-').and_then(|(_, rest)| number(rest)).or_else(|| number(size)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::cores_of;

    #[test]
    fn the_number_of_cores_is_in_the_name_of_a_size() {
        let table = [
            ("standard_d4s_v3", 4),
            ("Standard_A1_v2", 1),
            ("STANDARD_HB120rs_v3", 120),
            ("standard_nc6", 6),
            ("standard_m128-64ms", 64),
            ("small", 1),
            ("Large", 4),
            ("whatever", 1),
            ("", 1),
            ("standard_d0_v1", 1),
        ];
        for (size, cores) in table {
            assert_eq!(cores_of(size), cores, "{size}");
        }
    }
}
