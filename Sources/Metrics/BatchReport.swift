import Architectures
import Data

extension LabelReport {
  /// Takes the samples of a batch.
  ///
  /// - Parameter logits: of every token with a label, in their order
  public mutating func add(_ batch: Batch, logits: [[Float]]) {
    var next = 0
    let width = labelling.labels.count
    for (start, end) in zip(batch.segments, batch.segments.dropFirst()) {
      let labels = batch.labels[start..<end].filter { $0 != Label.ignored }
      if labels.isEmpty { continue }
      let targets = batch.targets.isEmpty ? [] : Array(batch.targets[next * width..<(next + labels.count) * width])
      add(labels: Array(labels), targets: targets, logits: Array(logits[next..<next + labels.count]))
      next += labels.count
    }
  }
}
