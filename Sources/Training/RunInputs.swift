import Data
import Kernels
import WeightStore

/// What runs of one process have in common: the opened store and the data, read by the first run that wants them so and kept
/// for the next one, and the threads.
public final class RunInputs {
  private struct Kept<Value> {
    let key: String
    let value: Value
  }

  private var labelled: Kept<LabelledRun?>?
  private var store: Kept<WeightStore>?
  private var data: Kept<(train: TrainingData, held: TrainingData?)>?
  private var digest: Kept<String>?
  private var finite: Kept<Void>?
  private var pool: Kept<ThreadPool>?

  public init() {}

  /// The last value, if it was made for the same key.
  private static func value<Value>(
    _ kept: inout Kept<Value>?, _ key: String, _ make: () throws -> Value
  ) rethrows -> Value {
    if let kept, kept.key == key { return kept.value }
    // What was there gives its memory back first.
    kept = nil
    let value = try make()
    kept = Kept(key: key, value: value)
    return value
  }

  func labelled(_ key: String, _ make: () throws -> LabelledRun?) rethrows -> LabelledRun? {
    try Self.value(&labelled, key, make)
  }

  func store(_ directory: String, _ make: () throws -> WeightStore) rethrows -> WeightStore {
    try Self.value(&store, directory, make)
  }

  func data(
    _ key: String, _ make: () throws -> (train: TrainingData, held: TrainingData?)
  ) rethrows -> (train: TrainingData, held: TrainingData?) {
    try Self.value(&data, key, make)
  }

  func digest(_ directory: String, _ make: () throws -> String) rethrows -> String {
    try Self.value(&digest, directory, make)
  }

  /// Refuses weights that are not finite.
  func checkFinite(_ store: WeightStore) throws {
    try Self.value(&finite, store.directory) { try store.checkFinite() }
  }

  func pool(threadCount: Int?) -> ThreadPool {
    Self.value(&pool, threadCount.map { "\($0)" } ?? "all") { ThreadPool(threadCount: threadCount) }
  }
}

extension TrainingOptions {
  private static let dataNames = Set((DataOptions.declarations + TaskOptions.declarations).map(\.name))
    .union(["seed", "init-adapter"]).subtracting(["data", "data-share"])

  /// Whether the samples of a run depend on an option.
  package static func decidesData(_ name: String) -> Bool { dataNames.contains(name) }

  /// Everything that the samples of a run depend on.
  func dataKey(model: String, files: [String], length: Int?) -> String {
    let words = given.filter { Self.decidesData($0.key) }.sorted { $0.key < $1.key }.map { [$0.key] + $0.value }
    return "\([[model], files, [length.map { "\($0)" } ?? ""]] + words)"
  }
}
