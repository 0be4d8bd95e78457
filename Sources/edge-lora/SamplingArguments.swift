import Deployment

extension Arguments {
  /// How tokens are drawn. What has no effect without a temperature is told.
  func sampling() throws -> SamplingOptions {
    let options = SamplingOptions(
      temperature: try number("temperature", in: 0...100), topP: try number("top-p", in: 0...1),
      topK: try number("top-k", in: 0...1_000_000), seed: try number("seed", in: 0...UInt64.max))
    if options.temperature == 0, let idle = ["top-p", "top-k", "seed"].first(where: values.isGiven) {
      Console.error("warning: --\(idle) has no effect at --temperature 0, which takes the likeliest token")
    }
    return options
  }
}
