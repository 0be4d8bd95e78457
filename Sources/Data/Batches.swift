import Architectures
import Randomness

/// Rows of packed samples for one pass of the model.
public struct Batch: Sendable {
  /// `[rows * row length]`
  public let tokens: [Int32]
  /// The id that should follow each token, or that of its own label, or `Label.ignored`.
  public let labels: [Int32]
  /// Which text of its sample each token counts to; empty if all count to the first.
  public let typeIDs: [Int32]
  /// Numbers of the labels that are no ids.
  public let targets: [Float]
  /// Tokens of a row, padding included.
  public let rowLength: Int
  /// First token of each sample, then the number of tokens; padding counts as a sample.
  public let segments: [Int]
  /// Tokens, padding excluded.
  public let tokenCount: Int
  public let labelledTokenCount: Int

  /// - Parameter rows: samples of each row, which together are not longer than `rowLength`
  public init(rows: [[Sample]], rowLength: Int, paddingToken: Int32 = 0) {
    var tokens: [Int32] = []
    var labels: [Int32] = []
    var segments: [Int] = []
    var count = 0
    var types: [Int32] = []
    var targets: [Float] = []
    let hasTypes = rows.contains { $0.contains { !$0.typeIDs.isEmpty } }
    tokens.reserveCapacity(rows.count * rowLength)
    for (index, row) in rows.enumerated() {
      for sample in row {
        segments.append(tokens.count)
        tokens += sample.tokens
        if sample.labelsFollow {
          labels += sample.labels.dropFirst()
          labels.append(Label.ignored)
        } else {
          labels += sample.labels
          targets += sample.targets
        }
        if hasTypes {
          types += sample.typeIDs.isEmpty ? [Int32](repeating: 0, count: sample.tokens.count) : sample.typeIDs
        }
        count += sample.tokens.count
      }
      let padding = (index + 1) * rowLength - tokens.count
      if padding > 0 {
        segments.append(tokens.count)
        tokens += [Int32](repeating: paddingToken, count: padding)
        labels += [Int32](repeating: Label.ignored, count: padding)
        if hasTypes { types += [Int32](repeating: 0, count: padding) }
      }
    }
    self.tokens = tokens
    self.labels = labels
    typeIDs = types
    self.targets = targets
    self.rowLength = rowLength
    self.segments = segments + [tokens.count]
    tokenCount = count
    labelledTokenCount = labels.reduce(0) { $1 == Label.ignored ? $0 : $0 + 1 }
  }
}

/// Samples packed into rows, and the order in which the rows are trained on: a function of the seed alone.
public struct BatchPlan: Sendable {
  private let rows: [[Sample]]
  /// Samples of an optimiser step, where steps are made of samples; they are packed into as few rows as hold them.
  private var samplesPerStep: Int?
  /// Tokens of every row, padding included.
  public let rowLength: Int
  private let seed: UInt64
  private let shuffles: Bool

  /// - Parameters:
  ///   - maximumLength: tokens of a row at most
  ///   - shuffles: whether samples and rows are mixed; the order of the file otherwise
  ///   - samplesPerStep: of labelled data, whose steps are made of samples; `nil` makes steps of rows
  public init(
    _ data: TrainingData, maximumLength: Int, seed: UInt64, shuffles: Bool, samplesPerStep: Int? = nil
  ) {
    if let samplesPerStep {
      self.samplesPerStep = samplesPerStep
      rows = data.samples.map { [$0] }
      rowLength = max(data.samples.map(\.tokens.count).max() ?? 1, 1)
      self.seed = seed
      self.shuffles = shuffles
      return
    }
    let order = shuffles ? Shuffle.permutation(data.samples.count, seed: seed) : Array(data.samples.indices)
    var rows: [[Sample]] = []
    var room: [Int] = []
    // First fit over the rows that were opened last: near the best packing, and fast for any number of samples.
    let window = 64
    for index in order {
      let sample = data.samples[index]
      let count = sample.tokens.count
      if !data.isOnePerRow,
        let fit = (max(0, rows.count - window)..<rows.count).first(where: { room[$0] >= count })
      {
        rows[fit].append(sample)
        room[fit] -= count
      } else {
        rows.append([sample])
        room.append(maximumLength - count)
      }
    }
    self.rows = rows
    rowLength = maximumLength - (room.min() ?? 0)
    self.seed = seed
    self.shuffles = shuffles
  }

  public var rowCount: Int { rows.count }
  /// How much there is, for people.
  public var summary: String {
    let samples = rows.reduce(0) { $0 + $1.count }
    let tokens = rows.reduce(0) { $0 + $1.reduce(0) { $0 + $1.tokens.count } }
    return "\(samples) samples, \(tokens) tokens in \(rows.count) rows of \(rowLength)"
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

  /// The samples of a step, counted over all epochs.
  private func samples(ofStep step: Int) -> [Sample] {
    let perStep = samplesPerStep ?? 1
    let perEpoch = stepsPerEpoch(rowsPerStep: perStep)
    let order = order(ofEpoch: step / perEpoch)
    let first = step % perEpoch * perStep
    return order[first..<min(first + perStep, order.count)].flatMap { rows[$0] }
  }

  private func order(ofEpoch epoch: Int) -> [Int] {
    shuffles ? Shuffle.permutation(rows.count, seed: seed &+ UInt64(epoch + 1) &* 0x9E37) : Array(rows.indices)
  }

  /// Samples in rows of at most `rowLength` tokens: first fit, the longest first.
  private func packed(_ samples: [Sample]) -> [[Sample]] {
    var rows: [[Sample]] = []
    var room: [Int] = []
    for sample in samples.enumerated().sorted(by: {
      ($1.element.tokens.count, $0.offset) < ($0.element.tokens.count, $1.offset)
    }).map(\.element) {
      if let fit = room.firstIndex(where: { $0 >= sample.tokens.count }) {
        rows[fit].append(sample)
        room[fit] -= sample.tokens.count
      } else {
        rows.append([sample])
        room.append(rowLength - sample.tokens.count)
      }
    }
    return rows
  }

  /// Micro-batches of samples packed into rows that are as long as the fullest.
  private func batches(packing samples: [Sample], microBatchSize: Int) -> [Batch] {
    let rows = packed(samples)
    let length = rows.map { $0.reduce(0) { $0 + $1.tokens.count } }.max() ?? 1
    return stride(from: 0, to: rows.count, by: microBatchSize).map {
      Batch(rows: Array(rows[$0..<min($0 + microBatchSize, rows.count)]), rowLength: length)
    }
  }

  /// The micro-batches of one optimiser step, counted from 0 over all epochs.
  /// - Parameter rowsPerStep: rows of the step, handed out in micro-batches of `microBatchSize`
  public func step(_ step: Int, rows rowsPerStep: Int, microBatchSize: Int) -> [Batch] {
    if samplesPerStep != nil { return batches(packing: samples(ofStep: step), microBatchSize: microBatchSize) }
    let perEpoch = stepsPerEpoch(rowsPerStep: rowsPerStep)
    let order = order(ofEpoch: step / perEpoch)
    let first = step % perEpoch * rowsPerStep
    let chosen = Array(order[first..<min(first + rowsPerStep, rows.count)])
    return batches(of: chosen, microBatchSize: microBatchSize)
  }

  /// All rows in order, for evaluation.
  public func all(microBatchSize: Int) -> [Batch] {
    guard samplesPerStep != nil else { return batches(of: Array(rows.indices), microBatchSize: microBatchSize) }
    // Samples of like length together.
    let samples = rows.flatMap { $0 }.sorted { $0.tokens.count > $1.tokens.count }
    let size = 64 * microBatchSize
    return stride(from: 0, to: samples.count, by: size).flatMap {
      batches(packing: Array(samples[$0..<min($0 + size, samples.count)]), microBatchSize: microBatchSize)
    }
  }

  private func batches(of chosen: [Int], microBatchSize: Int) -> [Batch] {
    stride(from: 0, to: chosen.count, by: microBatchSize).map { start in
      Batch(
        rows: chosen[start..<min(start + microBatchSize, chosen.count)].map { rows[$0] }, rowLength: rowLength)
    }
  }
}
