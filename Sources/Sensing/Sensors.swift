/// What the board says of its heat and power now; what it has no sensor for is `nil`.
public struct SensorReading: Sendable, Equatable {
  /// Of the hottest part of the processor.
  public var celsius: Double?
  /// Frequency of the processors as a share of the highest that they are made for, on average; 1 is full speed.
  public var frequencyShare: Double?
  /// Whether firmware or kernel holds the processor back, for heat or for want of voltage.
  public var throttled: Bool?
  /// Energy since the sensors were opened.
  public var joules: Double?

  public init(
    celsius: Double? = nil, frequencyShare: Double? = nil, throttled: Bool? = nil, joules: Double? = nil
  ) {
    self.celsius = celsius
    self.frequencyShare = frequencyShare
    self.throttled = throttled
    self.joules = joules
  }
}

/// Heat, speed and power of the machine, read from `/sys`. Which sensors there are is looked up once; a reading opens a few
/// small files and takes well under a millisecond.
///
/// Sources: Documentation/driver-api/thermal/sysfs-api.rst, admin-guide/pm/cpufreq.rst, power/powercap/powercap.rst and
/// hwmon/sysfs-interface.rst of Linux; for `get_throttled` the documentation of the Raspberry Pi's `vcgencmd`.
public final class Sensors {
  private let files: SensorFiles
  private let temperatures: [String]
  private let policies: [FrequencyPolicy]
  private var throttling: ThrottleSigns
  private var energy: EnergyMeter

  /// - Parameters:
  ///   - root: where `sys` lies
  ///   - seconds: time by a clock that never jumps, for power that must be summed up over it
  public init(root: String = "/", seconds: @escaping () -> Double = Sensors.uptime) {
    let files = SensorFiles(root: root)
    self.files = files
    temperatures = Self.temperatures(files)
    policies = files.paths(in: "sys/devices/system/cpu/cpufreq", beginning: "policy").compactMap {
      FrequencyPolicy(files, folder: $0)
    }
    throttling = ThrottleSigns(files)
    energy = EnergyMeter(files, seconds: seconds)
  }

  /// What the sensors say now.
  public func reading() -> SensorReading {
    SensorReading(
      celsius: temperatures.compactMap { files.integer($0) }.map { Double($0) / 1000 }
        .filter { Self.possibleCelsius.contains($0) }.max(),
      frequencyShare: frequencyShare, throttled: throttling.isThrottled(files), joules: energy.joules(files))
  }

  // MARK: Temperature

  /// Sensors that are not connected say -40, -273 or 255.
  private static let possibleCelsius = -30.0...150.0
  /// In names of thermal zones that measure a processor.
  private static let processorZones = ["cpu", "soc", "pkg", "package", "core", "x86"]
  private static let processorMonitors = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "scpi_sensors"]

  /// Files with the temperatures of the processor in thousandths of a degree; if no zone says that it is one, of all zones.
  private static func temperatures(_ files: SensorFiles) -> [String] {
    let zones = files.paths(in: "sys/class/thermal", beginning: "thermal_zone")
    let processors = zones.filter { zone in
      let type = files.text("\(zone)/type")?.lowercased() ?? ""
      return processorZones.contains { type.contains($0) }
    }
    if !processors.isEmpty { return processors.map { "\($0)/temp" } }
    let monitors = files.paths(in: "sys/class/hwmon", beginning: "hwmon").filter { monitor in
      processorMonitors.contains(files.text("\(monitor)/name") ?? "")
    }
    let inputs = monitors.flatMap { files.paths(in: $0, beginning: "temp") }.filter { $0.hasSuffix("_input") }
    return inputs.isEmpty ? zones.map { "\($0)/temp" } : inputs
  }

  // MARK: Frequency

  /// Processors that change their frequency together.
  private struct FrequencyPolicy {
    let current: String
    let most: Double
    let processorCount: Double

    init?(_ files: SensorFiles, folder: String) {
      guard let most = files.integer("\(folder)/cpuinfo_max_freq"), most > 0 else { return nil }
      self.most = Double(most)
      current = "\(folder)/scaling_cur_freq"
      processorCount = Double(max(1, files.words("\(folder)/affected_cpus").count))
    }
  }

  private var frequencyShare: Double? {
    var (sum, count) = (0.0, 0.0)
    for policy in policies {
      guard let frequency = files.integer(policy.current), frequency > 0 else { continue }
      sum += Double(frequency) / policy.most * policy.processorCount
      count += policy.processorCount
    }
    return count > 0 ? sum / count : nil
  }
}
