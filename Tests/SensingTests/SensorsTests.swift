import Foundation
import Sensing
import Testing

/// A folder that looks like `/` of a board.
private final class Board {
  let root = NSTemporaryDirectory() + "sensors-\(UUID().uuidString)"
  var time = 0.0

  init(_ files: [String: String]) throws { for (path, text) in files { try set(path, text) } }
  deinit { try? FileManager.default.removeItem(atPath: root) }

  func set(_ path: String, _ text: String) throws {
    let file = "\(root)/sys/\(path)"
    try FileManager.default.createDirectory(
      atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    try (text + "\n").write(toFile: file, atomically: false, encoding: .utf8)
  }

  var sensors: Sensors { Sensors(root: root, seconds: { [unowned self] in self.time }) }
}

@Suite struct SensorsTests {
  @Test func aMachineWithoutSensorsSaysNothing() throws {
    #expect(try Board([:]).sensors.reading() == SensorReading())
  }

  @Test func theHottestProcessorCountsAndNoOtherZone() throws {
    let board = try Board([
      "class/thermal/thermal_zone0/type": "bigcore0-thermal", "class/thermal/thermal_zone0/temp": "61250",
      "class/thermal/thermal_zone1/type": "littlecore-thermal", "class/thermal/thermal_zone1/temp": "55000",
      "class/thermal/thermal_zone2/type": "iwlwifi_1", "class/thermal/thermal_zone2/temp": "80000",
      "class/thermal/thermal_zone3/type": "soc-thermal", "class/thermal/thermal_zone3/temp": "-273000",
    ])
    #expect(board.sensors.reading().celsius == 61.25)
  }

  @Test func monitorsHelpWhereNoZoneIsAProcessor() throws {
    let board = try Board([
      "class/thermal/thermal_zone0/type": "acpitz", "class/thermal/thermal_zone0/temp": "27800",
      "class/hwmon/hwmon3/name": "k10temp", "class/hwmon/hwmon3/temp1_input": "70500",
      "class/hwmon/hwmon3/temp1_max": "99000",
      "class/hwmon/hwmon4/name": "nvme", "class/hwmon/hwmon4/temp1_input": "90000",
    ])
    #expect(board.sensors.reading().celsius == 70.5)
    let plain = try Board([
      "class/thermal/thermal_zone0/type": "acpitz", "class/thermal/thermal_zone0/temp": "27800",
    ])
    #expect(plain.sensors.reading().celsius == 27.8)
  }

  @Test func frequencyIsTheMeanOfAllProcessors() throws {
    let board = try Board([
      "devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "1000000",
      "devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1000000",
      "devices/system/cpu/cpufreq/policy0/affected_cpus": "0 1 2",
      "devices/system/cpu/cpufreq/policy3/cpuinfo_max_freq": "2000000",
      "devices/system/cpu/cpufreq/policy3/scaling_cur_freq": "1200000",
      "devices/system/cpu/cpufreq/policy3/affected_cpus": "3",
    ])
    #expect(board.sensors.reading().frequencyShare == (3 + 0.6) / 4)
  }

  @Test func theRaspberryPiSaysWhetherItIsThrottledNow() throws {
    let flag = "devices/platform/soc/soc:firmware/get_throttled"
    let board = try Board([flag: "0"])
    let sensors = board.sensors
    #expect(sensors.reading().throttled == false)
    for (text, expected) in [("50000", false), ("50005", true), ("8", true), ("0x1", true), ("e0000", false)] {
      try board.set(flag, text)
      #expect(sensors.reading().throttled == expected, "\(text)")
    }
    try board.set(flag, "?")
    #expect(sensors.reading().throttled == nil)
    let other = try Board(["bus/platform/drivers/raspberrypi-firmware/soc@107c000000:firmware/get_throttled": "4"])
    #expect(other.sensors.reading().throttled == true)
  }

  @Test func coolingAndCountersTellOfThrottling() throws {
    let cooled = try Board([
      "class/thermal/cooling_device0/type": "cpufreq-cpu0", "class/thermal/cooling_device0/cur_state": "0",
      "class/thermal/cooling_device1/type": "pwm-fan", "class/thermal/cooling_device1/cur_state": "3",
    ])
    let sensors = cooled.sensors
    #expect(sensors.reading().throttled == false)
    try cooled.set("class/thermal/cooling_device0/cur_state", "2")
    #expect(sensors.reading().throttled == true)

    let counter = "devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    let counted = try Board([counter: "17"])
    let counting = counted.sensors
    #expect(counting.reading().throttled == false)
    try counted.set(counter, "18")
    #expect(counting.reading().throttled == true)
    #expect(counting.reading().throttled == false)
  }

  @Test func packagesAndMemoryAddUpAndCountersWrap() throws {
    let board = try Board([
      "class/powercap/intel-rapl:0/name": "package-0", "class/powercap/intel-rapl:0/energy_uj": "9000000",
      "class/powercap/intel-rapl:0/max_energy_range_uj": "10000000",
      "class/powercap/intel-rapl:0:0/name": "core", "class/powercap/intel-rapl:0:0/energy_uj": "1",
      "class/powercap/intel-rapl:0:1/name": "dram", "class/powercap/intel-rapl:0:1/energy_uj": "500000",
      "class/powercap/intel-rapl:1/name": "psys", "class/powercap/intel-rapl:1/energy_uj": "1",
    ])
    let sensors = board.sensors
    #expect(sensors.reading().joules == 0)
    for part in [":0:0", ":1"] { try board.set("class/powercap/intel-rapl\(part)/energy_uj", "8000000") }
    try board.set("class/powercap/intel-rapl:0/energy_uj", "1000000")
    try board.set("class/powercap/intel-rapl:0:1/energy_uj", "1000000")
    #expect(sensors.reading().joules == 2.5)
    try board.set("class/powercap/intel-rapl:0/energy_uj", "1250000")
    #expect(sensors.reading().joules == 2.75)
  }

  @Test func powerIsSummedUpOverTime() throws {
    let power = "class/hwmon/hwmon0/power1_input"
    let board = try Board([
      "class/hwmon/hwmon0/name": "ina219", power: "4000000",
      "class/hwmon/hwmon1/name": "amdgpu", "class/hwmon/hwmon1/power1_average": "90000000",
    ])
    let sensors = board.sensors
    board.time = 10
    #expect(sensors.reading().joules == 40)
    try board.set(power, "8000000")
    board.time = 12
    #expect(sensors.reading().joules == 52)
  }

  @Test func socketsCountOnce() throws {
    let board = try Board([
      "class/hwmon/hwmon0/energy1_label": "Ecore000", "class/hwmon/hwmon0/energy1_input": "0",
      "class/hwmon/hwmon0/energy2_label": "Esocket0", "class/hwmon/hwmon0/energy2_input": "0",
    ])
    let sensors = board.sensors
    for number in 1...2 { try board.set("class/hwmon/hwmon0/energy\(number)_input", "3000000") }
    #expect(sensors.reading().joules == 3)
  }
}
