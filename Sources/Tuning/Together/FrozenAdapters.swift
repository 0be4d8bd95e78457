import Formats
import Transformer

/// LoRA adapters that were trained before and take part as they are.
public struct FrozenAdapters: Sendable, Equatable {
  private let files: [LowRankFile]
  /// What people call them: the last parts of their folders.
  let names: [String]
  /// What they are, by their contents.
  let identity: String

  /// - Parameter adapters: PEFT folders, and what each is multiplied with
  public init(_ adapters: [WeightedAdapter]) throws {
    files = try adapters.map { try LowRankFile(directory: $0.directory, weight: $0.weight) }
    names = adapters.map { String($0.directory.split(separator: "/").last ?? ".") }
    identity = try adapters.map { adapter in
      let sum = try AdapterFolder.weightsChecksum(of: adapter.directory)
      return "\(adapter.weight) of \(sum)"
    }.joined(separator: ", ")
  }

  /// The experts of a mixture.
  ///
  /// - Parameter names: one for each
  init(mixture directory: String, names: [String]) throws {
    files = try names.indices.map { try LowRankFile(mixture: directory, expert: $0) }
    self.names = names
    identity = names.joined(separator: ", ")
  }

  /// What the file of the first one says of the model.
  var common: PEFTCommon { files.first?.file.common ?? PEFTCommon() }

  /// Every layer of every one, with its number and factors.
  func layers() throws -> [(expert: Int, layer: String, part: LowRankFile.Part)] {
    try files.enumerated().flatMap { expert, file in
      try file.names.compactMap { name in
        try file.part(name).map { (expert, LowRankFile.layer(name), $0) }
      }
    }
  }

  public static func == (a: Self, b: Self) -> Bool { a.identity == b.identity }

  /// The factors of one of them at a layer.
  struct Part {
    let location: LinearLocation
    let rank: Int
    /// Number of the adapter among all.
    let expert: Int
    fileprivate let name: String
    fileprivate let file: LowRankFile

    func read() throws -> LowRankFile.Part {
      guard let part = try file.part(name) else {
        throw AdapterError.missingTensor(file: file.directory, tensor: name)
      }
      return part
    }
  }

  /// All factors, adapter by adapter.
  func parts(in model: LanguageModel) throws -> [Part] {
    try files.enumerated().flatMap { expert, file in
      try file.ranks(at: model.linearLocations).map {
        Part(location: $0.location, rank: $0.rank, expert: expert, name: $0.name, file: file)
      }
    }
  }
}
