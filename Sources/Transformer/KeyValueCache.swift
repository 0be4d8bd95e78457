import Kernels
import Memory

/// Keys and values of the tokens that generation has seen.
public final class KeyValueCache {
  /// The cache of one layer; where a window hides older tokens, their places are taken by new ones.
  final class Layer {
    private let keyStorage: Matrix  // [places, key-value heads * head size]
    private let valueStorage: Matrix
    /// Tokens that were seen.
    private(set) var length = 0

    fileprivate init(_ attention: AttentionBlock, index: Int, capacity: Int, arena: Arena) {
      let width = attention.shape.keyValueHeadCount * attention.shape.headSize
      let places = min(capacity, attention.visibility.window ?? capacity)
      keyStorage = arena.matrix("keys of layer \(index)", kind: .attention, rows: places, columns: width)
      valueStorage = arena.matrix("values of layer \(index)", kind: .attention, rows: places, columns: width)
    }

    /// What the last token sees, in any order.
    var keys: Matrix { keyStorage.rows(0..<min(length, keyStorage.rows)) }
    var values: Matrix { valueStorage.rows(0..<min(length, valueStorage.rows)) }

    func append(key: HeadMatrix, value: HeadMatrix, pool: ThreadPool) {
      let places = keyStorage.rows
      // Of more tokens than there are places the last ones.
      var first = max(0, key.rows - places)
      length += first
      while first < key.rows {
        let place = length % places
        let count = min(key.rows - first, places - place)
        for (from, to) in [(key, keyStorage), (value, valueStorage)] {
          VectorOperations.copy(
            from.rows(first..<first + count), into: HeadMatrix(to.rows(place..<place + count), size: from.size),
            pool: pool)
        }
        first += count
        length += count
      }
    }

    func removeAll() { length = 0 }

    /// Forgets the tokens from `count` on; `false` where older ones have lost their places to them.
    func truncate(to count: Int) -> Bool {
      guard count <= length, count == length || length <= keyStorage.rows else { return false }
      length = count
      return true
    }
  }

  public let capacity: Int
  let layers: [Layer]

  /// - Parameter capacity: positions that fit
  public init(model: LanguageModel, capacity: Int, arena: Arena) {
    self.capacity = capacity
    layers = model.layers.enumerated().map {
      Layer($1.attention, index: $0, capacity: capacity, arena: arena)
    }
  }

  /// Tokens in the cache.
  public var length: Int { layers[0].length }

  /// Forgets everything; the memory stays.
  public func removeAll() {
    for layer in layers { layer.removeAll() }
  }

  /// Forgets the tokens from `count` on.
  ///
  /// - Returns: `false`, with everything forgotten, where a window has let go of tokens that would be seen again
  public func truncate(to count: Int) -> Bool {
    if layers.allSatisfy({ $0.truncate(to: count) }) { return true }
    removeAll()
    return false
  }
}
