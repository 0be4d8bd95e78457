import Options

/// The space of AutoPEFT: which layers have adapters at all, and how large their serial bottlenecks, parallel ones and
/// prefixes are, each of which may be left out.
///
/// Source: Zhou et al. 2023, "AutoPEFT: Automatic Configuration Search for Parameter-Efficient Fine-Tuning", arXiv 2301.12132.
enum AutoPEFTSpace {
  /// What `--space` calls it.
  static let name = "autopeft"

  /// How much narrower than the model bottlenecks are, in powers of two down to its own width; 0 for none.
  private static let factors = ["0", "512", "256", "128", "64", "32", "16", "8", "4", "2", "1"]
  /// Keys and values in front of a layer; 0 for none.
  private static let prefixes = ["0", "1", "3", "6", "12", "24", "48", "96", "192"]

  static func dimensions(layers: Int) -> [Dimension] {
    [
      Dimension("reduction-factor", .choices(factors)), Dimension("parallel-reduction-factor", .choices(factors)),
      Dimension("num-virtual-tokens", .choices(prefixes)),
    ] + (0..<layers).map { Dimension(Dimension.listOption, member: $0) }
  }

  /// The options that the space is of.
  ///
  /// - Throws: `OptionError` where other methods are given
  static func base(_ given: [String: [String]]) throws -> [String: [String]] {
    let methods = given["method"]?.last?.split(separator: "+").map(String.init) ?? []
    guard given["method"]?.count ?? 1 == 1, methods.allSatisfy(["bottleneck", "prefix_tuning", "ptuning_v2"].contains)
    else {
      throw OptionError(
        "--space \(name) is of bottlenecks and prefixes, and not of --method \(given["method"]?.last ?? ""); leave the "
          + "method out, or name bottleneck, prefix_tuning or both")
    }
    return ["method": ["bottleneck+prefix_tuning"], "adapter-config": ["seq_bn+par_bn"]]
  }
}
