import Glibc

extension Sensors {
  /// Seconds since the machine started.
  public static func uptime() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9
  }
}

/// Adds up the energy that the machine has taken since the meter was made: from counters where there are some, else from
/// power over time, taken to change evenly between two readings.
struct EnergyMeter {
  /// A counter in millionths of a joule.
  private struct Counter {
    let path: String
    /// What it counts up to before it starts at 0 again.
    let range: Int?
    var last: Int
  }

  private var counters: [Counter] = []
  /// Power in millionths of a watt.
  private var powers: [String] = []
  private var lastPower: (watts: Double, time: Double)?
  private let seconds: () -> Double
  private var sum = 0.0

  init(_ files: SensorFiles, seconds: @escaping () -> Double) {
    self.seconds = seconds
    counters = Self.packages(files)
    if counters.isEmpty { counters = Self.monitors(files) }
    if counters.isEmpty {
      powers = Self.boards(files)
      lastPower = watts(files).map { ($0, seconds()) }
    }
  }

  /// RAPL: processors and, where it is counted apart, memory. Only root may read it by default.
  private static func packages(_ files: SensorFiles) -> [Counter] {
    // `intel-rapl:0` also names what the processor of AMD counts; `intel-rapl:0:1` is a part of it.
    files.paths(in: "sys/class/powercap", beginning: "intel-rapl:").compactMap { zone in
      let name = files.text("\(zone)/name") ?? ""
      guard name.hasPrefix("package") || name == "dram" else { return nil }
      guard let now = files.integer("\(zone)/energy_uj") else { return nil }
      return Counter(path: "\(zone)/energy_uj", range: files.integer("\(zone)/max_energy_range_uj"), last: now)
    }
  }

  /// Counters of sockets; a monitor that counts cores as well counts them in its socket too.
  private static func monitors(_ files: SensorFiles) -> [Counter] {
    files.paths(in: "sys/class/hwmon", beginning: "hwmon").flatMap { monitor -> [Counter] in
      let inputs = files.paths(in: monitor, beginning: "energy").filter { $0.hasSuffix("_input") }
      let sockets = inputs.filter {
        files.text($0.dropLast("input".count) + "label")?.hasPrefix("Esocket") ?? false
      }
      return (sockets.isEmpty ? inputs : sockets).compactMap { path in
        files.integer(path).map { Counter(path: path, range: nil, last: $0) }
      }
    }
  }

  /// What measures the supply of a board: INA219 and its kin, or the power meter of ACPI. Others, such as that of a
  /// graphics card, see a part only.
  private static func boards(_ files: SensorFiles) -> [String] {
    files.paths(in: "sys/class/hwmon", beginning: "hwmon").compactMap { monitor in
      let name = files.text("\(monitor)/name") ?? ""
      guard name.hasPrefix("ina2") || name == "power_meter" else { return nil }
      return ["input", "average"].map { "\(monitor)/power1_\($0)" }.first { files.integer($0) != nil }
    }
  }

  private func watts(_ files: SensorFiles) -> Double? {
    let values = powers.compactMap { files.integer($0) }
    return values.isEmpty ? nil : Double(values.reduce(0, +)) / 1e6
  }

  /// Energy since the meter was made; `nil` where nothing measures it.
  mutating func joules(_ files: SensorFiles) -> Double? {
    guard !counters.isEmpty || lastPower != nil else { return nil }
    for index in counters.indices {
      guard let now = files.integer(counters[index].path) else { continue }
      var difference = now - counters[index].last
      // Without a range, a counter that has gone back was reset.
      if difference < 0 { difference = counters[index].range.map { difference + $0 } ?? now }
      sum += Double(max(0, difference)) / 1e6
      counters[index].last = now
    }
    if let last = lastPower, let watts = watts(files) {
      let time = seconds()
      sum += (last.watts + watts) / 2 * max(0, time - last.time)
      lastPower = (watts, time)
    }
    return sum
  }
}
