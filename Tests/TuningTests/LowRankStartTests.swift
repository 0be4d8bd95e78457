import Formats
import Memory
import Testing
import Transformer
import Tuning
import WeightStore

/// What of LoRA's starts and of a frozen `A` is trained, and what is written. What they compute is judged by torch and PEFT in
/// `Tools/check-methods`.
struct LowRankStartTests {
  private func configuration(_ start: LowRankInitialisation, freezesA: Bool = false) -> LowRankConfiguration {
    var configuration = LowRankConfiguration(rank: 4, alpha: 8)
    configuration.initialisation = start
    configuration.freezesA = freezesA
    return configuration
  }

  private func reserve(_ configuration: LowRankConfiguration, for model: LanguageModel, trains: Bool = true) throws -> (
    arena: Arena, method: any TuningMethod
  ) {
    let (arena, method) = try Arena.filled {
      try configuration.reserve(for: model, in: TuningRoom(arena: $0, trainingTokens: trains ? 8 : 0))
    }
    return (arena, method)
  }

  @Test(arguments: [
    ("true", LowRankInitialisation.standard), ("gaussian", .gaussian), ("PiSSA", .pissa(rounds: 16)),
    ("pissa_niter_4", .pissa(rounds: 4)), ("olora", .olora), ("loftq", .loftq),
  ])
  func startsAreNamedAsPEFTNamesThem(name: String, start: LowRankInitialisation) {
    #expect(LowRankInitialisation(name) == start)
    #expect(LowRankInitialisation(start.description) == start)
  }

  @Test(arguments: ["", "false", "pissa_niter_", "pissa_niter_0", "pissa_niter_x", "eva"])
  func whatIsNoStartIsRefused(name: String) {
    #expect(LowRankInitialisation(name) == nil)
  }

  /// What takes the start off is written and not trained: a plain adapter of twice the rank, and the same scaling.
  @Test(arguments: [false, true]) func aStartThatIsTakenOffDoublesWhatIsWritten(usesRSLoRA: Bool) throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    var wished = configuration(.pissa(rounds: 2))
    wished.useRSLoRA = usesRSLoRA
    wished.rankPattern = [.init(pattern: "layers.0.self_attn.q_proj", value: 2)]
    let (arena, method) = try reserve(wished, for: model)
    try withExtendedLifetime(arena) {
      method.initialize(seed: 5)
      try withTemporaryFolder { folder in
        try method.save(to: folder, baseModel: "tiny")
        let found = try LowRankConfiguration.load(from: folder)
        #expect(found.rank == 8 && found.initialisation == .standard)
        #expect(abs(found.scaling - wished.scaling) < 1e-6)
        let (other, again) = try reserve(found, for: model)
        try withExtendedLifetime(other) {
          try again.load(from: folder)
          let shapes = zip(again.trainables.entries, method.trainables.entries)
          for (written, trained) in shapes where written.name.hasSuffix("lora_A.weight") {
            #expect(written.shape[0] == 2 * trained.shape[0])
            #expect(Array(written.values.prefix(trained.count)) == trained.values)
          }
        }
      }
    }
  }

  @Test func aFrozenFactorIsWrittenAndNotTrained() throws {
    let model = try LanguageModel(store: try WeightStore.open(tinyLlama))
    let (arena, method) = try reserve(configuration(.standard, freezesA: true), for: model)
    try withExtendedLifetime(arena) {
      method.initialize(seed: 5)
      #expect(method.trainables.entries.allSatisfy { $0.name.hasSuffix("lora_B.weight") })
      try withTemporaryFolder { folder in
        try method.save(to: folder, baseModel: "tiny")
        let (other, again) = try reserve(try LowRankConfiguration.load(from: folder), for: model, trains: false)
        try withExtendedLifetime(other) {
          try again.load(from: folder)
          let factors = again.trainables.entries.filter { $0.name.hasSuffix("lora_A.weight") }
          #expect(factors.count == method.trainables.entries.count)
          #expect(factors.allSatisfy { entry in entry.values.contains { $0 != 0 } })
        }
      }
    }
  }
}
