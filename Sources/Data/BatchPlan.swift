import Architectures
import Formats
import Randomness
import Synchronization

/// Samples packed into rows, and the order in which the rows are trained on: a function of the seed alone.
///
/// Beside the samples themselves it holds 4 bytes a row, and in files that are mapped 4 bytes a sample and a row.
public struct BatchPlan: Sendable {
  private let samples: SampleList
  private let rows: RowTable
  /// Samples of an optimiser step, where steps are made of samples; they are packed into as few rows as hold them.
  private let samplesPerStep: Int?
  /// Tokens of every row, padding included.
  public let rowLength: Int
  private let seed: UInt64
  private let shuffles: Bool
  private let orders: EpochOrders
  private let prompt: PromptPlaces

  /// - Parameters:
  ///   - maximumLength: tokens of a row at most
  ///   - shuffles: whether samples and rows are mixed; the order of the file otherwise
  ///   - samplesPerStep: of labelled data, whose steps are made of samples; `nil` makes steps of rows
  ///   - prompt: what stands in front of each sample, and is part of a row
  /// - Throws: `FileError` where there is no room for a table of rows that memory does not take
  public init(
    _ data: TrainingData, maximumLength: Int, seed: UInt64, shuffles: Bool, samplesPerStep: Int? = nil,
    prompt: PromptPlaces = .none
  ) throws {
    self.prompt = prompt
    samples = data.samples
    self.samplesPerStep = samplesPerStep
    self.seed = seed
    self.shuffles = shuffles
    if samplesPerStep != nil {
      rows = .single(samples.count)
      rowLength = max(samples.longest, 1) + prompt.count
    } else {
      let packed = try PackedRows.pack(
        data, maximumLength: maximumLength, extra: prompt.count,
        order: shuffles ? Shuffle.permutation(samples.count, seed: seed) : nil)
      rows = .packed(packed)
      rowLength = maximumLength - packed.leastRoom
    }
    orders = EpochOrders(shuffles ? rows.count : 0, seed: seed)
    samples.dropPages()
  }

  public var rowCount: Int { rows.count }

  /// How much there is, for people.
  public var summary: String {
    let tokens = samples.indices.reduce(0) { $0 + samples.length($1) }
    return "\(samples.count) samples, \(tokens) tokens in \(rows.count) rows of \(rowLength)"
  }

  /// Optimiser steps of one pass over the data.
  public func stepsPerEpoch(rowsPerStep: Int) -> Int {
    let perStep = samplesPerStep ?? rowsPerStep
    return (rows.count + perStep - 1) / perStep
  }

  /// The most rows that a step of the first pass has, where steps are made of samples; `rows` otherwise.
  public func rowsPerStep(_ rows: Int) -> Int {
    guard samplesPerStep != nil else { return rows }
    let steps = stepsPerEpoch(rowsPerStep: 1)
    return (0..<steps).map { packed(samples(ofStep: $0)).count }.max() ?? 1
  }

  /// The micro-batches of one optimiser step, counted from 0 over all epochs.
  /// - Parameter rowsPerStep: rows of the step, handed out in micro-batches of `microBatchSize`
  public func step(_ step: Int, rows rowsPerStep: Int, microBatchSize: Int) -> [Batch] {
    defer { dropPages() }
    if samplesPerStep != nil {
      // As long as the fullest of the step, not of a micro-batch: what fills a row up takes part in how its tokens are
      // rounded, and must not depend on the plan.
      let rows = packed(samples(ofStep: step))
      let length = longest(rows)
      return Self.cut(rows, microBatchSize: microBatchSize).map { batch($0, rowLength: length) }
    }
    let perEpoch = stepsPerEpoch(rowsPerStep: rowsPerStep)
    let first = step % perEpoch * rowsPerStep
    let chosen = (first..<min(first + rowsPerStep, rows.count)).map { row($0, ofEpoch: step / perEpoch) }
    return Self.cut(chosen.map { Array(rows[$0]) }, microBatchSize: microBatchSize).map {
      batch($0, rowLength: rowLength)
    }
  }

  /// All rows in order, for evaluation; each batch is made when it is asked for.
  public func all(microBatchSize: Int) -> BatchList {
    guard samplesPerStep != nil else {
      return BatchList(count: (rows.count + microBatchSize - 1) / microBatchSize) { [self] index in
        defer { dropPages() }
        let first = index * microBatchSize
        return batch((first..<min(first + microBatchSize, rows.count)).map { Array(rows[$0]) }, rowLength: rowLength)
      }
    }
    // Samples of like length together, packed stretch by stretch; only where the batches of each begin is kept. A stretch is the
    // same for every size of batch, and so are the lengths of its rows: what fills a row up takes part in how its tokens
    // are rounded, and must not depend on the plan.
    let sorted = samples.indices.map { UInt32($0) }.sorted {
      (samples.length(Int($1)), $0) < (samples.length(Int($0)), $1)
    }
    let size = Self.samplesOfStretch
    @Sendable func stretch(_ index: Int) -> [[Int]] {
      packed(sorted[index * size..<min((index + 1) * size, sorted.count)].map { Int($0) })
    }
    var firsts = [0]
    for index in 0..<(sorted.count + size - 1) / size {
      firsts.append(firsts[index] + (stretch(index).count + microBatchSize - 1) / microBatchSize)
    }
    dropPages()
    return BatchList(count: firsts[firsts.count - 1]) { [self, firsts] index in
      defer { dropPages() }
      // The last stretch that begins at or before the batch.
      var (low, high) = (0, firsts.count - 1)
      while high - low > 1 {
        let middle = (low + high) / 2
        if firsts[middle] <= index { low = middle } else { high = middle }
      }
      let rows = stretch(low)
      return batch(
        Self.cut(rows, microBatchSize: microBatchSize)[index - firsts[low]], rowLength: longest(rows))
    }
  }

  /// Labelled samples that are packed together for evaluation.
  private static let samplesOfStretch = 256

  /// Tokens of a sample with the virtual ones.
  private func length(_ index: Int) -> Int { prompt.count + samples.length(index) }

  private func dropPages() {
    samples.dropPages()
    rows.dropPages()
  }

  private func row(_ place: Int, ofEpoch epoch: Int) -> Int {
    shuffles ? orders.row(place, ofEpoch: epoch) : place
  }

  /// The samples of a step, counted over all epochs.
  private func samples(ofStep step: Int) -> [Int] {
    let perStep = samplesPerStep ?? 1
    let perEpoch = stepsPerEpoch(rowsPerStep: perStep)
    let first = step % perEpoch * perStep
    return (first..<min(first + perStep, rows.count)).map { row($0, ofEpoch: step / perEpoch) }
  }

  /// Samples in rows of at most `rowLength` tokens: first fit, the longest first.
  private func packed(_ chosen: [Int]) -> [[Int]] {
    var rows: [[Int]] = []
    var room: [Int] = []
    let order = chosen.enumerated().sorted {
      (length($1.element), $0.offset) < (length($0.element), $1.offset)
    }
    for (_, index) in order {
      let count = length(index)
      if let fit = room.firstIndex(where: { $0 >= count }) {
        rows[fit].append(index)
        room[fit] -= count
      } else {
        rows.append([index])
        room.append(rowLength - count)
      }
    }
    return rows
  }

  private static func cut(_ rows: [[Int]], microBatchSize: Int) -> [[[Int]]] {
    stride(from: 0, to: rows.count, by: microBatchSize).map {
      Array(rows[$0..<min($0 + microBatchSize, rows.count)])
    }
  }

  /// Tokens of the fullest row.
  private func longest(_ rows: [[Int]]) -> Int { rows.map { $0.reduce(0) { $0 + length($1) } }.max() ?? 1 }

  private func batch(_ rows: [[Int]], rowLength: Int) -> Batch {
    Batch(rows: rows.map { $0.map { samples[$0] } }, rowLength: rowLength, prompt: prompt)
  }
}

/// Batches that are made when they are asked for.
public struct BatchList: RandomAccessCollection, Sendable {
  private let make: @Sendable (Int) -> Batch
  public let endIndex: Int
  public var startIndex: Int { 0 }
  public subscript(index: Int) -> Batch { make(index) }

  init(count: Int, _ make: @escaping @Sendable (Int) -> Batch) {
    self.make = make
    endIndex = count
  }
}

/// Which samples each row has.
private enum RowTable: Sendable {
  /// Each row has the sample of its number.
  case single(Int)
  case packed(PackedRows)

  var count: Int {
    switch self {
    case .single(let count): count
    case .packed(let rows): rows.count
    }
  }

  subscript(row: Int) -> [Int] {
    switch self {
    case .single: [row]
    case .packed(let rows): rows[row]
    }
  }

  func dropPages() { if case .packed(let rows) = self { rows.dropPages() } }
}

/// The order of the rows in one epoch: 4 bytes a row, made anew when an epoch begins.
private final class EpochOrders: Sendable {
  private let count: Int
  private let seed: UInt64
  private let current: Mutex<(epoch: Int, order: [UInt32])>

  init(_ count: Int, seed: UInt64) {
    self.count = count
    self.seed = seed
    current = Mutex((0, Self.order(0, count, seed)))
  }

  private static func order(_ epoch: Int, _ count: Int, _ seed: UInt64) -> [UInt32] {
    Shuffle.permutation(count, seed: seed &+ UInt64(epoch + 1) &* 0x9E37)
  }

  func row(_ place: Int, ofEpoch epoch: Int) -> Int {
    current.withLock { current in
      if current.epoch != epoch {
        // The old order gives its memory back first.
        current.order = []
        current = (epoch, Self.order(epoch, count, seed))
      }
      return Int(current.order[place])
    }
  }
}
