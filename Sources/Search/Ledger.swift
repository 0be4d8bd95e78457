import Formats
import FoundationEssentials

/// A trial after a rung, as the ledger holds it.
public struct TrialRecord: Sendable, Equatable {
  public let trial: Int
  public let rung: Int
  public let settings: Settings
  /// Optimiser steps that are done, and those of the whole run.
  public let steps: Int
  public let allSteps: Int
  /// The figure that the search looks at; `nil` where the trial failed.
  public let metric: Double?
  /// Why it failed.
  public let failure: String?
  public let trainableParameters: Int
  /// Multiply-adds that the method adds to a token's way forth: what it costs beside the model, on any machine.
  public let methodProducts: Double
  public let predictedPeakBytes: Int
  /// Of this process, from the data to the evaluation.
  public let seconds: Double

  package var json: JSONValue {
    .object(
      JSONObject([
        ("trial", .integer(trial)), ("rung", .integer(rung)), ("settings", Self.json(settings)),
        ("steps", .integer(steps)), ("all_steps", .integer(allSteps)),
        ("metric", metric.map { .number($0) } ?? .null), ("failure", failure.map { .string($0) } ?? .null),
        ("trainable_parameters", .integer(trainableParameters)),
        ("method_multiply_adds", .number(methodProducts)),
        ("predicted_peak_bytes", .integer(predictedPeakBytes)), ("seconds", .number(seconds)),
      ]))
  }

  package static func json(_ settings: Settings) -> JSONValue {
    .object(JSONObject(settings.entries.map { ($0.option, .string($0.word)) }))
  }

  package init(
    trial: Int, rung: Int, settings: Settings, steps: Int, allSteps: Int, metric: Double?, failure: String?,
    trainableParameters: Int, methodProducts: Double = 0, predictedPeakBytes: Int, seconds: Double
  ) {
    self.trial = trial
    self.rung = rung
    self.settings = settings
    self.steps = steps
    self.allSteps = allSteps
    self.metric = metric
    self.failure = failure
    self.trainableParameters = trainableParameters
    self.methodProducts = methodProducts
    self.predictedPeakBytes = predictedPeakBytes
    self.seconds = seconds
  }

  /// The same at a further rung, for which nothing was done.
  func at(rung: Int) -> TrialRecord {
    TrialRecord(
      trial: trial, rung: rung, settings: settings, steps: steps, allSteps: allSteps, metric: metric, failure: failure,
      trainableParameters: trainableParameters, methodProducts: methodProducts, predictedPeakBytes: predictedPeakBytes,
      seconds: 0)
  }

  package init?(json: JSONValue) {
    guard let trial = json["trial"]?.intValue, let rung = json["rung"]?.intValue,
      let settings = json["settings"]?.objectValue, let steps = json["steps"]?.intValue,
      let allSteps = json["all_steps"]?.intValue, let parameters = json["trainable_parameters"]?.intValue,
      let peak = json["predicted_peak_bytes"]?.intValue, let seconds = json["seconds"]?.doubleValue
    else { return nil }
    let entries = settings.entries.compactMap { key, value in
      value.stringValue.map { Settings.Entry(option: key, word: $0) }
    }
    guard entries.count == settings.entries.count else { return nil }
    self.init(
      trial: trial, rung: rung, settings: Settings(entries), steps: steps, allSteps: allSteps,
      metric: json["metric"]?.doubleValue, failure: json["failure"]?.stringValue, trainableParameters: parameters,
      methodProducts: json["method_multiply_adds"]?.doubleValue ?? 0, predictedPeakBytes: peak, seconds: seconds)
  }
}

/// The output of a search is of another one, or damaged.
public struct SearchMismatch: Error, CustomStringConvertible {
  package let path: String
  package let reason: String
  public var description: String {
    "\(path): \(reason)\n       name another --output, or start anew with --force"
  }
}

/// What a search knows, on the disk: after each trial the whole of it is written anew under its name, so that a kill at any
/// moment leaves all trials but the one that was at work.
package final class Ledger {
  package static let name = "ledger.json"
  private let path: String
  /// What makes this search this one and no other.
  private let identity: [(name: String, value: String)]
  private(set) var records: [TrialRecord] = []

  /// Takes up what an earlier process has left.
  ///
  /// - Throws: `SearchMismatch` where it was another search
  package init(folder: String, identity: [(name: String, value: String)]) throws {
    path = "\(folder)/\(Self.name)"
    self.identity = identity
    guard FileManager.default.fileExists(atPath: path) else {
      try write()
      return
    }
    let json: JSONValue
    do { json = try JSONValue.parse(contentsOf: path) } catch let error as JSONError {
      throw SearchMismatch(path: path, reason: "is damaged: \(error.reason)")
    }
    guard let old = json["search"]?.objectValue, let trials = json["trials"]?.arrayValue else {
      throw SearchMismatch(path: path, reason: "is no ledger of a search")
    }
    if let other = identity.first(where: { old[$0.name]?.stringValue != $0.value }) {
      throw SearchMismatch(
        path: path,
        reason:
          "is of another search: \(other.name) was \(old[other.name]?.stringValue ?? "none"), and is \(other.value)")
    }
    records = try trials.map {
      guard let record = TrialRecord(json: $0) else {
        throw SearchMismatch(path: path, reason: "holds a trial that cannot be read")
      }
      return record
    }
  }

  /// Puts a record in its place by rung and trial: trials that run together end in any order.
  package func append(_ record: TrialRecord) throws {
    let place = records.firstIndex { ($0.rung, $0.trial) > (record.rung, record.trial) } ?? records.endIndex
    records.insert(record, at: place)
    try write()
  }

  private func write() throws {
    let search = JSONObject(identity.map { ($0.name, .string($0.value)) })
    let json = JSONValue.object(
      JSONObject([("search", .object(search)), ("trials", .array(records.map(\.json)))]))
    try OutputFile.writeWhole(json.serialized(pretty: true) + "\n", to: path)
  }
}

extension OutputFile {
  /// Puts a text under its name, complete or not at all.
  static func writeWhole(_ text: String, to path: String) throws {
    let output = try AtomicOutput(path: path, force: true)
    try write(text, to: output.temporaryPath)
    try output.commit()
  }
}
