//! The simulated machine: a temperature that climbs in random steps, and what follows from it.
//!
//! Pure: the seed is an argument. The rule is `tools.md` §3.2: below the maximum a step of
//! [−0.25, 1.25), above it one of [−0.5, 0.5); pressure is linear in temperature. The walk goes on
//! while sending is off; a reset puts it back to the minimum at the next step.

use crate::settings::Ranges;

/// Where the machine stands, and the dice it is moved with.
#[derive(Debug, Clone)]
pub struct Walk {
    ranges: Ranges,
    temperature: f64,
    reset: bool,
    random: Random,
}

/// What one look at the machine shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Machine temperature, °C.
    pub machine_temperature: f64,
    /// Machine pressure, bar.
    pub machine_pressure: f64,
    /// Temperature around the machine, °C.
    pub ambient_temperature: f64,
    /// Humidity around the machine, percent.
    pub ambient_humidity: i64,
}

impl Walk {
    /// A machine at its minimum temperature. The same seed gives the same walk.
    pub fn new(ranges: Ranges, seed: u64) -> Self {
        Self { temperature: ranges.temperature_min, ranges, reset: false, random: Random(seed) }
    }

    /// Lets the next step begin at the minimum temperature.
    pub fn reset(&mut self) {
        self.reset = true;
    }

    /// Moves the machine by one step.
    pub fn step(&mut self) {
        if std::mem::take(&mut self.reset) {
            self.temperature = self.ranges.temperature_min;
        }
        self.temperature += if self.temperature > self.ranges.temperature_max {
            self.random.unit() - 0.5
        } else {
            self.random.unit() * 1.5 - 0.25
        };
    }

    /// Reads every gauge. The surroundings are drawn anew at each reading.
    pub fn read(&mut self) -> Reading {
        let ranges = &self.ranges;
        let slope = (ranges.pressure_max - ranges.pressure_min)
            / (ranges.temperature_max - ranges.temperature_min);
        let above_minimum = self.temperature - ranges.temperature_min;
        Reading {
            machine_temperature: self.temperature,
            machine_pressure: ranges.pressure_min + above_minimum * slope,
            ambient_temperature: ranges.ambient_temperature + self.random.unit() - 0.5,
            ambient_humidity: ranges.ambient_humidity - 1 + self.random.below(3),
        }
    }
}

/// SplitMix64: small, seedable and good enough for a picture of a machine.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1): the 53 bits that a double holds.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..n for a small n.
    fn below(&mut self, n: i64) -> i64 {
        (self.unit() * n as f64) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges() -> Ranges {
        Ranges::default()
    }

    #[test]
    fn some_160_steps_lead_from_minimum_to_maximum() {
        let mut walk = Walk::new(ranges(), 1);
        let mut steps = 0;
        while walk.read().machine_temperature <= 100.0 {
            walk.step();
            steps += 1;
            assert!(steps < 250, "the mean step is half a degree");
        }
        assert!(steps > 110, "{steps} steps");
    }

    #[test]
    fn every_step_and_reading_stays_in_its_range() {
        let mut walk = Walk::new(ranges(), 7);
        let mut seen = [false; 3];
        for _ in 0..2000 {
            let before = walk.temperature;
            walk.step();
            let step = walk.temperature - before;
            let allowed = if before > 100.0 { -0.5..0.5 } else { -0.25..1.25 };
            assert!(allowed.contains(&step), "{before} {step}");
            let reading = walk.read();
            assert!((20.5..21.5).contains(&reading.ambient_temperature));
            assert!((24..=26).contains(&reading.ambient_humidity));
            seen[(reading.ambient_humidity - 24) as usize] = true;
            let pressure = 1.0 + (reading.machine_temperature - 21.0) * 9.0 / 79.0;
            assert!((reading.machine_pressure - pressure).abs() < 1e-9);
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn a_reset_takes_hold_at_the_next_step() {
        let mut walk = Walk::new(ranges(), 3);
        (0..50).for_each(|_| walk.step());
        let before = walk.temperature;
        walk.reset();
        assert_eq!(walk.temperature, before);
        walk.step();
        assert!((20.75..22.25).contains(&walk.temperature), "{}", walk.temperature);
        walk.step();
        assert!(walk.temperature > 20.5, "a reset happens once");
    }

    #[test]
    fn the_humidity_setting_is_honoured() {
        let mut walk = Walk::new(Ranges { ambient_humidity: 60, ..ranges() }, 3);
        for _ in 0..50 {
            assert!((59..=61).contains(&walk.read().ambient_humidity));
        }
    }
}
