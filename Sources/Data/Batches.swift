import Architectures
import Randomness

/// Rows of packed samples for one pass of the model.
public struct Batch: Sendable {
  /// `[rows * row length]`
  public let tokens: [Int32]
  /// The id that should follow each token, or `Label.ignored`.
  public let labels: [Int32]
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
    tokens.reserveCapacity(rows.count * rowLength)
    for (index, row) in rows.enumerated() {
      for sample in row {
        segments.append(tokens.count)
        tokens += sample.tokens
        labels += sample.labels.dropFirst()
        labels.append(Label.ignored)
        count += sample.tokens.count
      }
      let padding = (index + 1) * rowLength - tokens.count
      if padding > 0 {
        segments.append(tokens.count)
        tokens += [Int32](repeating: paddingToken, count: padding)
        labels += [Int32](repeating: Label.ignored, count: padding)
      }
    }
    self.tokens = tokens
    self.labels = labels
    self.rowLength = rowLength
    self.segments = segments + [tokens.count]
    tokenCount = count
    labelledTokenCount = labels.reduce(0) { $1 == Label.ignored ? $0 : $0 + 1 }
  }
}

/// Samples packed into rows, and the order in which the rows are trained on: a function of the seed alone.
public struct BatchPlan: Sendable {
  private let rows: [[Sample]]
  /// Tokens of every row, padding included.
  public let rowLength: Int
  private let seed: UInt64
  private let shuffles: Bool

  /// - Parameters:
  ///   - maximumLength: tokens of a row at most
  ///   - shuffles: whether samples and rows are mixed; the order of the file otherwise
  public init(_ data: TrainingData, maximumLength: Int, seed: UInt64, shuffles: Bool) {
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
  public func stepsPerEpoch(rowsPerStep: Int) -> Int { (rows.count + rowsPerStep - 1) / rowsPerStep }

  /// The micro-batches of one optimiser step, counted from 0 over all epochs.
  /// - Parameter rowsPerStep: rows of the step, handed out in micro-batches of `microBatchSize`
  public func step(_ step: Int, rows rowsPerStep: Int, microBatchSize: Int) -> [Batch] {
    let perEpoch = stepsPerEpoch(rowsPerStep: rowsPerStep)
    let epoch = step / perEpoch
    let order =
      shuffles ? Shuffle.permutation(rows.count, seed: seed &+ UInt64(epoch + 1) &* 0x9E37) : Array(rows.indices)
    let first = step % perEpoch * rowsPerStep
    let chosen = Array(order[first..<min(first + rowsPerStep, rows.count)])
    return batches(of: chosen, microBatchSize: microBatchSize)
  }

  /// All rows in order, for evaluation.
  public func all(microBatchSize: Int) -> [Batch] { batches(of: Array(rows.indices), microBatchSize: microBatchSize) }

  private func batches(of chosen: [Int], microBatchSize: Int) -> [Batch] {
    stride(from: 0, to: chosen.count, by: microBatchSize).map { start in
      Batch(
        rows: chosen[start..<min(start + microBatchSize, chosen.count)].map { rows[$0] }, rowLength: rowLength)
    }
  }
}
