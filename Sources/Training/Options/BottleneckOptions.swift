import Options
import Tuning

/// Which bottlenecks are trained, and how large they are.
public struct BottleneckOptions: Sendable {
  /// One, or a serial and a parallel one; empty where all of them are left out.
  let parts: [CombinedConfiguration.Part]

  static let declarations: [OptionDeclaration] = [
    .init(
      "adapter-config", "KIND", default: "seq_bn", identifies: true,
      "bottleneck: seq_bn (after feed-forward), double_seq_bn (also after attention), par_bn (beside feed-forward), or "
        + "one of the serial ones and the parallel one at once, as in seq_bn+par_bn"),
    .init(
      "reduction-factor", "X", identifies: true,
      "bottleneck: how much narrower than the model (default: 16, par_bn 2); 0 leaves it out of several"),
    .init(
      "parallel-reduction-factor", "X",
      "seq_bn+par_bn: the same of the parallel one (default: 2); --reduction-factor is that of the serial one"),
    .init(
      "non-linearity", "NAME", identifies: true,
      "bottleneck: relu, swish, gelu or gelu_new (default: relu, double_seq_bn swish)"),
    .init("scaling", "X", identifies: true, "bottleneck: factor of its share (default: 1, par_bn 4)"),
    .init("parallel-scaling", "X", "seq_bn+par_bn: the same of the parallel one (default: 4)"),
    .init(
      "adapter-off", "N,...", identifies: true,
      "bottleneck, prefixes: numbers of layers without one, from 0, such as 0-3,7; none for no layer"),
  ]

  /// Options that say something for two at once only.
  static let ofPairs = ["parallel-reduction-factor", "parallel-scaling"]

  /// Options that say something for bottlenecks only.
  static let own = ["adapter-config", "reduction-factor", "non-linearity", "scaling"] + ofPairs

  /// Whether an `--adapter-config` is one of two at once.
  static func isPair(_ kind: String) -> Bool { kind.contains("+") }

  /// - Parameter leaveOut: numbers of layers without a bottleneck
  init(_ values: OptionValues, leaveOut: [Int]) throws {
    let (serial, parallel) = try Self.kinds(try values.required("adapter-config"))
    if serial == nil || parallel == nil, let option = Self.ofPairs.first(where: values.isGiven) {
      throw OptionError(
        "--\(option) is of the parallel one of two at once, as in --adapter-config seq_bn+par_bn; of a bottleneck alone it "
          + "is --\(option.dropFirst("parallel-".count))")
    }
    let nonLinearity = try values.optionalChoice("non-linearity", BottleneckConfiguration.NonLinearity.self)
    func configuration(
      _ kind: BottleneckConfiguration.Kind?, _ prefix: String = "", name: String = "adapter"
    ) throws -> BottleneckConfiguration? {
      guard let kind else { return nil }
      let factor = try Self.factor(values, "\(prefix)reduction-factor")
      if factor == 0 { return nil }
      var made = BottleneckConfiguration(
        kind: kind, reductionFactor: factor, nonLinearity: nonLinearity,
        scaling: try values.optionalNumber("\(prefix)scaling", in: -1e6...1e6), leaveOut: leaveOut, name: name)
      made.factorOption = "\(prefix)reduction-factor"
      return made
    }
    guard let first = serial, let second = parallel else {
      parts = [try configuration(serial ?? parallel)].compactMap { $0 }.map(Self.part)
      return
    }
    let behind = try configuration(first)
    let beside = try configuration(second, "parallel-", name: behind == nil ? "adapter" : "parallel")
    if let behind, let beside {
      parts = BottleneckConfiguration.together(serial: behind, parallel: beside)
    } else {
      parts = [behind, beside].compactMap { $0 }.map(Self.part)
    }
  }

  private static func part(_ configuration: BottleneckConfiguration) -> CombinedConfiguration.Part {
    .init(name: "bottleneck", configuration: configuration)
  }

  /// - Parameter text: a kind, or a serial and a parallel one with a plus between them
  private static func kinds(
    _ text: String
  ) throws -> (serial: BottleneckConfiguration.Kind?, parallel: BottleneckConfiguration.Kind?) {
    typealias Kind = BottleneckConfiguration.Kind
    let kinds = text.split(separator: "+", omittingEmptySubsequences: false).compactMap { Kind(rawValue: String($0)) }
    let serial = kinds.filter { $0 != .parallel }
    let words = text.count { $0 == "+" } + 1
    guard kinds.count == words, words <= 2, serial.count <= 1, kinds.count - serial.count <= 1 else {
      throw OptionError(
        "--adapter-config \(text): expected \(Kind.allCases.map(\.rawValue).joined(separator: ", ")), or a serial and a "
          + "parallel one at once, as in seq_bn+par_bn")
    }
    return (serial.first, kinds.contains(.parallel) ? .parallel : nil)
  }

  /// How much narrower than the model a bottleneck is; 0 for none.
  private static func factor(_ values: OptionValues, _ name: String) throws -> Double? {
    guard let factor = try values.optionalNumber(name, in: 0.0...1e6) else { return nil }
    guard factor == 0 || factor >= 0.01 else {
      throw OptionError("--\(name) \(values.text(name) ?? ""): expected a number from 0.01 to 1000000.0, or 0 for none")
    }
    return factor
  }

  /// Whether options leave out all bottlenecks.
  static func leavesOutAll(_ word: (String) -> String?) -> Bool {
    func isOff(_ option: String) -> Bool { word(option).flatMap { Double($0) } == 0 }
    return isOff("reduction-factor") && (!isPair(word("adapter-config") ?? "") || isOff("parallel-reduction-factor"))
  }
}
