import Kernels
import Memory

/// Keys and values of the tokens that generation has seen.
public final class KeyValueCache {
  /// The cache of one layer.
  final class Layer {
    private let keyStorage: Matrix  // [capacity, key-value heads * head size]
    private let valueStorage: Matrix
    private(set) var length = 0

    fileprivate init(index: Int, capacity: Int, width: Int, arena: Arena) {
      keyStorage = arena.matrix("keys of layer \(index)", kind: .attention, rows: capacity, columns: width)
      valueStorage = arena.matrix("values of layer \(index)", kind: .attention, rows: capacity, columns: width)
    }

    var keys: Matrix { keyStorage.rows(0..<length) }
    var values: Matrix { valueStorage.rows(0..<length) }

    func append(key: Matrix, value: Matrix, pool: ThreadPool) {
      let range = length..<length + key.rows
      VectorOperations.copy(key, into: keyStorage.rows(range), pool: pool)
      VectorOperations.copy(value, into: valueStorage.rows(range), pool: pool)
      length = range.upperBound
    }

    func removeAll() { length = 0 }
  }

  public let capacity: Int
  let layers: [Layer]

  /// - Parameter capacity: positions that fit
  public init(model: CausalLanguageModel, capacity: Int, arena: Arena) {
    let configuration = model.configuration
    self.capacity = capacity
    layers = model.layers.indices.map {
      Layer(
        index: $0, capacity: capacity, width: configuration.keyValueHeadCount * configuration.headSize, arena: arena)
    }
  }

  /// Tokens in the cache.
  public var length: Int { layers[0].length }

  /// Forgets everything; the memory stays.
  public func removeAll() {
    for layer in layers { layer.removeAll() }
  }
}
