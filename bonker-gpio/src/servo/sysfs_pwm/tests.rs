use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::inotify;
use service::error_chain::chain;
use tempfile::TempDir;

use super::{SysfsPwm, SysfsPwmError};
use crate::motion::{Calibration, Limits, Step};
use crate::servo::{Choice, Hardware, PwmSelection, Servo, pick};

const AUTO: PwmSelection = PwmSelection {
    chip: None,
    channel: None,
};

/// /sys/class/pwm of one machine.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("class")
    }

    fn hardware(&self) -> Hardware {
        Hardware {
            pin: 18,
            pwm: AUTO,
            sysfs_pwm: self.root(),
        }
    }

    fn chip(&self, number: u32) -> PathBuf {
        self.root().join(format!("pwmchip{number}"))
    }

    /// A chip of `device`; of the overlays pwm-gpio and pwm-pio with what it is compatible to
    /// and its pin.
    fn with(self, number: u32, device: &str, npwm: u32, single: Option<(&str, u32)>) -> Self {
        let chip = self.chip(number);
        fs::create_dir_all(&chip).unwrap();
        let target = self.0.path().join("devices").join(device);
        let node = target.join("of_node");
        fs::create_dir_all(&node).unwrap();
        if let Some((compatible, pin)) = single {
            fs::write(node.join("compatible"), format!("{compatible}\0")).unwrap();
            let cells = [7_u32, pin, 0].map(u32::to_be_bytes).concat();
            fs::write(node.join("gpios"), cells).unwrap();
        }
        symlink(target, chip.join("device")).unwrap();
        for (name, text) in [("npwm", npwm.to_string()), ("export", String::new())] {
            fs::write(chip.join(name), text).unwrap();
        }
        fs::write(chip.join("unexport"), "").unwrap();
        self
    }

    /// What the kernel makes at an export.
    fn exported(self, number: u32, channel: u32, state: [&str; 3]) -> Self {
        let dir = self.chip(number).join(format!("pwm{channel}"));
        fs::create_dir(&dir).unwrap();
        for (name, text) in ["period", "duty_cycle", "enable"].iter().zip(state) {
            fs::write(dir.join(name), text).unwrap();
        }
        fs::write(dir.join("polarity"), "inversed\n").unwrap();
        self
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }
}

fn step(pulse_us: u16) -> Step {
    Step {
        pulse_us,
        hold: std::time::Duration::ZERO,
    }
}

/// Waits until `path` is written.
fn written(path: &Path) {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); 512];
    while fs::read_to_string(path).unwrap().is_empty() {
        inotify::Reader::new(&watch, &mut space).next().unwrap();
    }
}

#[test]
fn the_pin_finds_its_chip_by_device() {
    let fan = ("1f0009c000.pwm", 4);
    let rp1 = ("1f00098000.pwm", 4);
    let pi4 = ("fe20c000.pwm", 2);
    let earphones = ("fe20c800.pwm", 2);
    let check = |chips: &[(&str, u32)], pin, expect: Option<(u32, u32)>| {
        let mut machine = Machine::new();
        for (number, (device, npwm)) in (0..).zip(chips) {
            machine = machine.with(number, device, *npwm, None);
        }
        let chips = super::chips::list(&machine.root());
        let found = super::chips::choose(&chips, AUTO, pin);
        let found = found.ok().map(|(chip, channel)| (chip.number, channel));
        assert_eq!(found, expect, "GPIO {pin} of {chips:?}");
    };
    // The Pi 5's chip, by whatever number.
    check(&[rp1, fan], 12, Some((0, 0)));
    check(&[fan, rp1], 13, Some((1, 1)));
    check(&[fan, fan, rp1], 18, Some((2, 2)));
    check(&[rp1], 19, Some((0, 3)));
    check(&[fan], 18, None);
    // The Pis before: two channels on two pins each.
    for old in [pi4, ("3f20c000.pwm", 2), ("2020c000.pwm", 2)] {
        check(&[earphones, old], 18, Some((1, 0)));
        check(&[old], 12, Some((0, 0)));
        check(&[old], 13, Some((0, 1)));
        check(&[old], 19, Some((0, 1)));
        check(&[old], 17, None);
    }
    check(&[("0000:00:15.0", 1)], 18, None);
    check(&[], 18, None);
}

#[test]
fn an_overlay_of_one_pin_goes_first() {
    let machine = Machine::new()
        .with(0, "fe20c000.pwm", 2, None)
        .with(1, "pwm_gpio@12", 1, Some(("pwm-gpio", 12)))
        .with(2, "pwm_pio@4", 1, Some(("raspberrypi,pwm-pio-rp1", 4)));
    let chips = super::chips::list(&machine.root());
    let check = |wish, pin, expect: Result<(u32, u32), &str>| {
        let found = super::chips::choose(&chips, wish, pin);
        match (found, expect) {
            (Ok((chip, channel)), Ok(expect)) => assert_eq!((chip.number, channel), expect),
            (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{why}"),
            (found, expect) => panic!("{found:?} for {expect:?}"),
        }
    };
    let wish = |chip, channel| PwmSelection { chip, channel };
    check(AUTO, 12, Ok((1, 0)));
    check(AUTO, 4, Ok((2, 0)));
    check(AUTO, 18, Ok((0, 0)));
    check(AUTO, 5, Err("dtoverlay=pwm-gpio,gpio=5"));
    check(wish(Some(0), None), 12, Ok((0, 0)));
    check(wish(Some(0), None), 5, Err("give --pwm-channel"));
    check(wish(Some(0), Some(1)), 5, Ok((0, 1)));
    check(wish(None, Some(1)), 5, Ok((0, 1)));
    check(wish(Some(0), Some(2)), 18, Err("has 2 channels"));
    // One channel: the user's word is enough.
    check(wish(Some(2), None), 5, Ok((2, 0)));
    check(
        wish(Some(9), None),
        18,
        Err("there are pwmchip0 (fe20c000.pwm), pwmchip1"),
    );
}

#[test]
fn a_channel_is_exported_awaited_driven_and_given_back() {
    let machine = Machine::new().with(0, "fe20c000.pwm", 2, None);
    let chip = machine.chip(0);
    let kernel = thread::spawn(move || {
        written(&chip.join("export"));
        let made = chip.join("pwm0");
        fs::create_dir(&made).unwrap();
        for (name, text) in [("period", "0\n"), ("duty_cycle", "0\n"), ("enable", "0\n")] {
            fs::write(made.join(name), text).unwrap();
        }
    });
    let mut servo = SysfsPwm::open(&machine.hardware()).unwrap();
    kernel.join().unwrap();
    assert_eq!(machine.read("pwmchip0/export"), "0");
    let state = || {
        ["period", "duty_cycle", "enable"]
            .map(|name| machine.read(&format!("pwmchip0/pwm0/{name}")))
    };
    servo.drive(&step(1500)).unwrap();
    assert_eq!(state(), ["20000000", "1500000", "1"]);
    servo.drive(&step(1000)).unwrap();
    assert_eq!(state(), ["20000000", "1000000", "1"]);

    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    let dir = machine.chip(0).join("pwm0");
    inotify::add_watch(&watch, &dir, inotify::WatchFlags::CLOSE_WRITE).unwrap();
    let begun = std::time::Instant::now();
    servo.detach().unwrap();
    assert!(
        begun.elapsed() >= std::time::Duration::from_millis(20),
        "the last pulse is cut"
    );
    assert_eq!(state(), ["20000000", "0", "0"]);
    let mut space = [std::mem::MaybeUninit::uninit(); 512];
    let mut events = inotify::Reader::new(&watch, &mut space);
    let mut next = || events.next().unwrap().file_name().unwrap().to_owned();
    assert_eq!(next().as_c_str(), c"duty_cycle");
    assert_eq!(next().as_c_str(), c"enable");

    servo.drive(&step(1200)).unwrap();
    drop(servo);
    assert_eq!(state(), ["20000000", "0", "0"], "pulses end with it");
    assert_eq!(machine.read("pwmchip0/unexport"), "0");
}

#[test]
fn pulses_of_a_predecessor_end_and_its_export_stays() {
    let machine = Machine::new().with(3, "1f00098000.pwm", 4, None).exported(
        3,
        2,
        ["1000\n", "900\n", "1\n"],
    );
    let mut servo = SysfsPwm::open(&machine.hardware()).unwrap();
    assert_eq!(
        servo.place().unwrap(),
        machine.chip(3).join("pwm2").display().to_string()
    );
    assert_eq!(machine.read("pwmchip3/pwm2/duty_cycle"), "0");
    assert_eq!(machine.read("pwmchip3/pwm2/enable"), "0");
    assert_eq!(machine.read("pwmchip3/pwm2/polarity"), "normal");
    servo.drive(&step(1500)).unwrap();
    assert_eq!(machine.read("pwmchip3/pwm2/period"), "20000000");
    drop(servo);
    assert_eq!(machine.read("pwmchip3/pwm2/enable"), "0");
    assert_eq!(machine.read("pwmchip3/unexport"), "");
}

#[test]
fn unusable_files_are_refused_with_the_remedy() {
    let check = |machine: &Machine, words: &[&str]| {
        let why = chain(&SysfsPwm::open(&machine.hardware()).err().unwrap()).to_string();
        for word in words {
            assert!(why.contains(word), "{word:?} in {why}");
        }
    };
    let overlay = "dtoverlay=pwm,pin=18,func=2";
    check(&Machine::new(), &["there is no PWM chip", overlay]);
    let fan = Machine::new().with(0, "1f0009c000.pwm", 4, None);
    check(&fan, &["pwmchip0 (1f0009c000.pwm)", overlay]);
    // No kernel answers the export: the files never come.
    let silent = Machine::new().with(0, "fe20c000.pwm", 2, None);
    check(
        &silent,
        &["pwm0/period", "2s after", "group gpio", "No such file"],
    );
    assert_eq!(silent.read("pwmchip0/unexport"), "0");
    let broken = Machine::new().with(0, "fe20c000.pwm", 2, None);
    let broken = broken.exported(0, 0, ["soon", "0", "0"]);
    check(&broken, &["read", "pwm0/period", "invalid digit"]);
    fs::remove_file(silent.root().join("pwmchip0/export")).unwrap();
    check(&silent, &["write", "pwmchip0/export", "usermod -aG gpio"]);
}

#[test]
fn a_file_that_goes_is_an_error_of_the_servo() {
    let machine = Machine::new().with(0, "fe20c000.pwm", 2, None);
    let machine = machine.exported(0, 0, ["0", "0", "0"]);
    let mut servo = SysfsPwm::open(&machine.hardware()).unwrap();
    fs::remove_file(machine.chip(0).join("pwm0/enable")).unwrap();
    let why = servo.drive(&step(1500)).unwrap_err().to_string();
    assert!(why.contains("cannot write"), "{why}");
}

#[test]
fn a_channel_of_another_driver_is_busy() {
    let why = SysfsPwmError::Busy {
        chip: "/sys/class/pwm/pwmchip0".to_owned(),
        channel: 0,
    };
    assert!(why.to_string().contains("dtparam=audio=off"));
}

#[test]
fn auto_takes_the_channel_and_says_what_it_passed_over() {
    let limits = Limits::try_from(Calibration::default()).unwrap();
    let pick = |machine: &Machine, choice| pick(choice, &machine.hardware(), limits, None);
    let with = Machine::new().with(0, "fe20c000.pwm", 2, None);
    let with = with.exported(0, 0, ["0", "0", "0"]);
    let picked = pick(&with, Choice::Auto).unwrap();
    assert_eq!(picked.backend.name, "sysfs-pwm");
    assert!(
        picked.backend.reason.contains("pwmchip0/pwm0"),
        "{}",
        picked.backend.reason
    );
    assert_eq!(
        pick(&with, Choice::SysfsPwm).unwrap().backend.name,
        "sysfs-pwm"
    );

    let without = Machine::new();
    let why = chain(&pick(&without, Choice::SysfsPwm).err().unwrap()).to_string();
    assert!(
        why.contains("--backend rppal") && why.contains("dtoverlay"),
        "{why}"
    );
    // True of any machine but a Raspberry Pi.
    if !Path::new("/proc/device-tree/model").exists() {
        let picked = pick(&without, Choice::Auto).unwrap();
        assert_eq!(picked.backend.name, "sim");
        for word in [
            "not sysfs-pwm: no PWM chip",
            "not rppal: this is not a Raspberry Pi",
        ] {
            assert!(
                picked.backend.reason.contains(word),
                "{}",
                picked.backend.reason
            );
        }
    }
}
