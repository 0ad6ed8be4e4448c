use super::*;

/// Values of the reference implementation (xxHash 0.8). The three texts are the well-known ones.
#[test]
fn agrees_with_the_reference() {
    for (text, expected) in
        [("", 0xef46_db37_51d8_e999), ("a", 0xd24e_c4f1_a98c_6e5b), ("abc", 0x44bc_2cf5_ad77_0999)]
    {
        assert_eq!(xxh64(text.as_bytes(), 0), expected, "{text:?}");
    }
    let bytes: Vec<u8> = (0..300_u32).map(|i| (i * 7 + 1) as u8).collect();
    for (len, unseeded, seeded) in [
        (0, 0xef46_db37_51d8_e999, 0xac75_fda2_929b_17ef),
        (1, 0x8a41_2781_1b21_e730, 0x211a_e132_47ce_135f),
        (3, 0xb6e6_c910_c2fd_373a, 0x0ccd_b2c7_c285_0613),
        (4, 0x22ed_a2cf_6af4_c124, 0x446b_e1f3_228e_d3c3),
        (7, 0x3408_4d91_a233_a751, 0x5410_e603_0daf_84b3),
        (8, 0xc6f1_803a_5e0b_3222, 0xb872_c2fb_02e7_1655),
        (12, 0x9178_b724_dce3_84c0, 0x026e_ca0e_4448_27d8),
        (31, 0x6ab1_c40e_29f5_0073, 0xbb6d_29b3_8190_a8ff),
        (32, 0x5a07_56fb_e9ec_d3d1, 0x0518_cc93_bc88_a896),
        (33, 0xdc50_cdc3_7bb9_c183, 0x157c_e0e9_c56b_5988),
        (63, 0x10dd_9488_5c71_894a, 0x20ab_6c1b_ad83_813f),
        (64, 0x9008_3da9_cdb9_d795, 0xa2fe_2536_872f_cb89),
        (100, 0xd248_bfc5_208b_0b16, 0xbccf_0757_9af4_75cd),
        (300, 0xe99d_1b8a_38d4_07dd, 0xf9f2_4550_192c_6900),
    ] {
        assert_eq!(xxh64(&bytes[..len], 0), unseeded, "{len} bytes");
        assert_eq!(xxh64(&bytes[..len], 2_654_435_761), seeded, "{len} bytes with a seed");
    }
}
