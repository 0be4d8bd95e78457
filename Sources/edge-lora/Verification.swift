import Formats
import FoundationEssentials
import Search
import Tokenization
import Training
import Transformer
import Tuning
import WeightStore

/// What `verify` found wrong, one line for each thing.
struct VerificationFailed: Error, CustomStringConvertible {
  let problems: [String]
  /// Whether bytes are other than they were, or no weights.
  let isDamage: Bool

  var description: String {
    problems.joined(separator: "\nerror: ")
      + (isDamage
        ? "\n       copy or download it again, or make it again: quantize, merge, or train --resume, which takes the newest "
          + "whole checkpoint" : "")
  }
}

/// A folder that holds runs, and is none.
struct SearchFolder: Error, CustomStringConvertible {
  let path: String
  let trials: [String]

  var description: String {
    "\(path): is the folder of a search: name the run of a trial in it"
      + (trials.first.map { ", such as \(path)/\($0)" } ?? "")
  }
}

/// Reads a model, an adapter, a run's folder or a checkpoint through: checksums where there are some, structure, and numbers
/// that are finite.
///
/// It goes on after the first thing that is wrong, so that all are told.
struct Verification {
  /// Bases that adapters are checked against, where none is named: those that their files name and that are here.
  let base: String?
  /// Gets bytes of tensors and files that were read.
  let progress: (Int) -> Void
  private(set) var problems: [String] = []
  private(set) var isDamage = false
  /// What holds, and what could not be checked.
  private(set) var notes: [String] = []

  init(base: String?, progress: @escaping (Int) -> Void) {
    self.base = base
    self.progress = progress
  }

  /// - Throws: where there is nothing that could be looked at
  mutating func check(_ path: String) throws {
    guard case .directory = try PathKind(path) else {
      checkFile(path)
      return
    }
    func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(path)/\(name)") }
    if has("trainer_state.json") {
      checkCheckpoint(path)
      return
    }
    let isAdapter = has(PEFTConfiguration.fileName)
    if isAdapter { checkAdapter(path) }
    let names = try OutputFolder.readableNames(in: path)
    let steps = TrainingCheckpoint.steps(in: path)
    for step in steps { checkCheckpoint("\(path)/\(TrainingCheckpoint.name(step))") }
    if !isAdapter, steps.isEmpty {
      guard !has(Ledger.name) else { throw SearchFolder(path: path, trials: names.filter { $0.hasPrefix("trial-") }) }
      checkModel(path)
    }
  }

  /// Does a part; what it throws is a problem, and the rest goes on.
  private mutating func attempt(_ body: (inout Verification) throws -> Void) {
    do { try body(&self) } catch { problems.append("\(error)") }
  }

  private mutating func checkFile(_ path: String) {
    attempt { me in
      if GGUFFile.isGGUF(path) || path.lowercased().hasSuffix(".gguf") {
        let file = try GGUFFile(path: path)
        for tensor in file.tensors {
          if let row = file.firstRowNotFinite(of: tensor, piece: me.progress) {
            me.isDamage = true
            me.problems.append("\(tensor.path): tensor \(tensor.name), row \(row) holds a value that is not finite")
          }
        }
        me.notes.append("\(path): \(file.tensors.count) tensors, all read")
      } else {
        me.checkNumbers(try Checkpoint.open(path), in: path)
      }
    }
  }

  private mutating func checkNumbers(_ checkpoint: Checkpoint, in path: String) {
    for tensor in checkpoint.tensorNames.compactMap(checkpoint.tensor) {
      guard let place = tensor.firstNotFinite(piece: progress) else { continue }
      isDamage = true
      problems.append(
        "\(tensor.file.path): tensor \(tensor.name), element \(place) of \(tensor.elementCount) is not finite")
    }
    notes.append("\(path): \(checkpoint.tensorNames.count) tensors, all read")
  }

  /// Sums first: where they hold, the rest is as it was written.
  private mutating func checkSums(_ path: String) {
    attempt { me in
      guard let sums = try FolderChecksums(of: path) else {
        me.notes.append(
          "\(path): has no \(FolderChecksums.fileName), which quantize and merge write: bytes cannot be compared")
        return
      }
      let findings = try sums.check(piece: me.progress)
      me.problems += findings.problems
      if !findings.problems.isEmpty { me.isDamage = true }
      if !findings.unlisted.isEmpty {
        me.notes.append("\(path): came later and has no checksum: \(findings.unlisted.joined(separator: ", "))")
      }
      if findings.problems.isEmpty { me.notes.append("\(path): checksums hold") }
    }
  }

  private mutating func checkModel(_ path: String) {
    checkSums(path)
    attempt { me in
      let checkpoint = try Checkpoint.open(path)
      me.checkNumbers(checkpoint, in: path)
      // Everything that the configuration asks for, in its shape.
      let model = try LanguageModel(store: try WeightStore.open(path))
      me.notes += model.store.warnings.map { "warning: \($0)" }
    }
    guard TokenizerFolder.hasTokenizer(path) else {
      notes.append("\(path): has no tokenizer; it can only be trained and evaluated on input_ids")
      return
    }
    attempt { _ in _ = try Tokenizer.load(directory: path) }
  }

  private mutating func checkAdapter(_ path: String) {
    attempt { me in
      _ = try AdapterFolder.configuration(of: path)
      let names = try OutputFolder.readableNames(in: path)
      let weights = names.filter { $0.hasSuffix(".safetensors") }
      if weights.isEmpty { me.problems.append("\(path): has no .safetensors file with the adapter's weights") }
      for name in weights {
        me.attempt { me in me.checkNumbers(try Checkpoint.open("\(path)/\(name)"), in: "\(path)/\(name)") }
      }
    }
    attempt { me in
      guard let base = try me.base(of: path) else {
        me.notes.append("\(path): its base is not here; --model DIR checks names and shapes against it")
        return
      }
      let own = try WeightStore.open(base)
      let labelling = try AdapterFolder.labelling(of: path, base: own.description)
      let model = try LanguageModel(store: labelling == nil ? own : try WeightStore.open(base, labelling: labelling))
      _ = try AdapterFolder.open(path, for: model)
      me.notes.append("\(path): fits \(base)")
    }
  }

  /// The folder of an adapter's base, if it is here.
  private func base(of adapter: String) throws -> String? {
    if let base { return base }
    let json = try JSONValue.parse(contentsOf: "\(adapter)/\(PEFTConfiguration.fileName)")
    let named = json["base_model_name_or_path"]?.stringValue ?? json["model_name"]?.stringValue
    return named.flatMap { FileManager.default.fileExists(atPath: "\($0)/config.json") ? $0 : nil }
  }

  private mutating func checkCheckpoint(_ path: String) {
    attempt { me in
      try TrainingCheckpoint.check(path)
      me.notes.append("\(path): checksums hold")
    }
    attempt { me in
      for name in try OutputFolder.readableNames(in: path)
      where name.hasSuffix(".safetensors") {
        me.attempt { me in me.checkNumbers(try Checkpoint.open("\(path)/\(name)"), in: "\(path)/\(name)") }
      }
    }
  }
}
