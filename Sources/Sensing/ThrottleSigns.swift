/// The ways in which a machine says that it holds its processor back.
struct ThrottleSigns {
  /// The Raspberry Pi's flags, hexadecimal.
  private let firmware: String?
  /// States of cooling devices that lower the frequency; 0 is no cooling.
  private let coolers: [String]
  /// How often the processor has held itself back since the start, on x86.
  private let counters: [String]
  private var counted: [String: Int] = [:]

  /// Now under voltage, frequency capped, throttled, at the soft limit of temperature; the bits from 16 on say the same of
  /// the time since the start.
  private static let now = 0xF

  init(_ files: SensorFiles) {
    let places =
      ["sys/devices/platform/soc/soc:firmware"]
      + files.paths(in: "sys/bus/platform/drivers/raspberrypi-firmware", beginning: "soc")
    firmware = places.map { "\($0)/get_throttled" }.first { files.text($0) != nil }
    coolers = files.paths(in: "sys/class/thermal", beginning: "cooling_device").filter { cooler in
      files.text("\(cooler)/type")?.lowercased().contains("cpufreq") ?? false
    }.map { "\($0)/cur_state" }
    counters = ["core", "package"].map { "sys/devices/system/cpu/cpu0/thermal_throttle/\($0)_throttle_count" }
    for counter in counters { counted[counter] = files.integer(counter) }
  }

  /// Whether any sign says so, for counters since the last question; `nil` without a sign.
  mutating func isThrottled(_ files: SensorFiles) -> Bool? {
    var signs: [Bool] = []
    if let flags = firmware.flatMap({ files.text($0) }) {
      let digits = flags.hasPrefix("0x") ? flags.dropFirst(2) : flags[...]
      if let bits = Int(digits, radix: 16) { signs.append(bits & Self.now != 0) }
    }
    for cooler in coolers { if let state = files.integer(cooler) { signs.append(state > 0) } }
    for counter in counters {
      guard let count = files.integer(counter) else { continue }
      signs.append(count > counted[counter] ?? count)
      counted[counter] = count
    }
    return signs.isEmpty ? nil : signs.contains(true)
  }
}
