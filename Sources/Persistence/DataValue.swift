import Foundation
import GRDB

/// GRDB takes binary values as Foundation's `Data`; nothing else here needs Foundation.
enum DataValue {
    static func make(_ bytes: [UInt8]) -> DatabaseValue { Data(bytes).databaseValue }
}
